"""Example dialogues: who says what, and which of them are set aside."""

from __future__ import annotations

import pytest

from selfsame.cards.card import TRAINING_USES, make_card


def card(examples: str, name: str = "Bob Lee", description: str = "I bake."):
    return make_card({"name": name, "description": description, "mes_example": examples})


def turns(examples: str) -> list[list[tuple[int, str]]]:
    return [[(turn.speaker, turn.text) for turn in dialogue] for dialogue in card(examples).examples]


@pytest.mark.parametrize(
    "examples",
    [
        "<START>\n{{user}}: hi\n{{char}}: hello",
        "<START>\nAnna: hi\nBob: hello",
        "<START>\nAnna Smith: hi\nbob lee: hello",
        "anna: hi\nbob: hello",
        "**Anna:** hi\n**Bob Lee:** hello",
        "Guard of the Gate 2： hi\nBob： hello",
        "李: hi\n<BOT>: hello",
        "You: hi\nBob: hello",
        "Élodie: hi\n{{CHAR}}: hello",
    ],
)
def test_a_second_name_is_the_partner(examples: str) -> None:
    assert turns(examples) == [[(1, "hi"), (2, "hello")]]


@pytest.mark.parametrize(
    "third", ["Guard", "the guard", "guard", "Narrator", "{{random_user_1}}", "**Guard", "Guard of the gate", "Lee"]
)
def test_a_third_name_sets_the_example_aside(third: str) -> None:
    made = card(f"<START>\nAnna: hi\nBob: hello\n{third}: halt!\n<START>\nAnna: hi\nBob: hello")
    assert [len(example) for example in made.examples] == [2]
    assert made.not_used(TRAINING_USES) == "not used of the card: 1 example dialogue of more than two speakers"


def test_a_narrator_is_no_partner() -> None:
    made = card("Bob: hello\nNarrator: Bob falls.")
    assert not made.examples and "1 example dialogue of more than two speakers" in made.not_used(TRAINING_USES)


def test_lines_without_a_name_stay_with_their_turn() -> None:
    said = "Look: 12:30\nhttps://a.b\nthere is one thing I say now: no"
    assert turns(f"{{{{user}}}}: hi\n{{{{char}}}}: {said}") == [[(1, "hi"), (2, said)]]
