"""A message a row with a persona next to it: whose persona it is."""

import pytest

from selfsame.data.loader import DatasetLoader

SAID = [("user", "Any pets?", "I have a dog."), ("bot", "No.", "I sing."), ("user", "Oh.", "I have a dog.")]


def personas(*rows: tuple[str, str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    records = [{"conversation_id": "a", "speaker": who, "text": text, "persona": own} for who, text, own in rows]
    ((dialogue,),) = [source.dialogues for source in DatasetLoader(records=records).sources()]
    assert [turn.speaker for turn in dialogue.turns] == [1, 2, 1]
    return dialogue.personas


@pytest.mark.parametrize("bot", ["bot", "Ida"])
def test_each_speaker_has_the_persona_next_to_it(bot: str) -> None:
    rows = [(bot if who == "bot" else who, text, own) for who, text, own in SAID]
    assert personas(*rows) == (("I have a dog.",), ("I sing.",))


def test_a_persona_next_to_the_bot_alone_is_found_whoever_speaks_first() -> None:
    assert personas(*((who, text, own if who == "bot" else "") for who, text, own in SAID)) == ((), ("I sing.",))


def test_a_persona_next_to_everybody_is_the_bot_s() -> None:
    assert personas(*((who, text, "I sing.") for who, text, _ in SAID)) == ((), ("I sing.",))


def test_a_persona_next_to_the_user_alone_is_never_the_bot_s() -> None:
    assert personas(*((who, text, own if who == "user" else "") for who, text, own in SAID))[1] == ()
