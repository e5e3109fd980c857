"""A card, chats of the character and other people's talk -> its dialogues."""

from __future__ import annotations

import pytest

from selfsame.cards.card import make_card
from selfsame.data.character import character_data
from selfsame.data.loader import DatasetLoader
from selfsame.errors import DataError
from selfsame.text.questions import question_about
from selfsame.types import Dialogue, Turn

NORA = {
    "name": "Nora",
    "description": "She flies small planes. She has two boats. She likes old maps. She hates rain. She lives in Oslo.",
    "first_mes": "Ahoy!",
    "mes_example": "<START>\n{{user}}: Where to?\n{{char}}: North, always north.",
}
CARD = make_card(NORA)
TALK = DatasetLoader().read_parts()[0]["train"]


def chat(k: int) -> Dialogue:
    return Dialogue(f"c{k}", (("I am Tim.",), ("Old persona.",)), (Turn(1, f"Hi {k}!"), Turn(2, f"Ho {k} times.")))


def test_every_dialogue_is_led_by_the_character():
    data = character_data(CARD, CARD.persona, [chat(k) for k in range(20)], TALK)
    dialogues = [*data.train, *data.validation]
    assert {dialogue.personas[1] for dialogue in dialogues} == {CARD.persona}
    assert len({dialogue.id for dialogue in dialogues}) == len(dialogues)
    texts = [turn.text for dialogue in dialogues for turn in dialogue.turns if turn.speaker == 2]
    assert {"North, always north.", "Ahoy!", "Ho 3 times."} <= {*texts}
    assert "1 from the card, 20 from chats" in data.notes[0]
    in_train = [dialogue for dialogue in data.train if dialogue.id.startswith("c")]
    assert 10 <= len(in_train) < 20


def test_the_questions_of_the_evaluation_are_others():
    data = character_data(CARD, CARD.persona, [], TALK)
    questions = {question_about(trait) for trait in CARD.persona} - {""}
    asked = [
        {turn.text for dialogue in part for turn in dialogue.turns} & questions
        for part in (data.train, data.validation)
    ]
    assert asked[0] and asked[1]
    assert asked[0].isdisjoint(asked[1])
    said = [
        {turn.text for d in part for turn in d.turns if turn.traits == ()} for part in (data.train, data.validation)
    ]
    assert len(said[0] & said[1]) <= len({"Ahoy!"})


def test_an_answer_is_made_of_all_traits_that_answer():
    persona = ("I like old maps.", "I fly small planes.", "I like rain.")
    data = character_data(CARD, persona, [], TALK)
    answers = {turn.text: turn.traits for d in (*data.train, *data.validation) for turn in d.turns if turn.traits}
    assert answers["I like old maps. I like rain."] == (0, 2)


def test_nobody_elses_life_is_in_it():
    data = character_data(CARD, CARD.persona, [], TALK)
    made = {turn.text for d in (*data.train, *data.validation) for turn in d.turns if turn.speaker == 2}
    annotated = {turn.text for d in TALK for turn in d.turns if turn.traits}
    assert made.isdisjoint(annotated)


def test_another_dialogue_moves_no_other():
    few, more = (character_data(CARD, CARD.persona, [chat(k) for k in range(n)], TALK[:20]) for n in (9, 10))
    assert {d.id for d in few.validation} <= {d.id for d in more.validation}


def test_a_card_in_another_language_needs_dialogues_of_its_own():
    card = make_card(NORA | {"description": "Nora ist Pilotin und sie hat zwei Boote. Sie lebt in Oslo."})
    with pytest.raises(
        DataError, match="is in the language 'de', and the bundled dialogues are in English: give chats"
    ):
        character_data(card, card.persona, [], TALK)
    data = character_data(card, card.persona, [chat(k) for k in range(20)], TALK)
    assert len(data.train) + len(data.validation) == 21


def test_a_bot_that_learns_from_its_chats_is_evaluated_on_them():
    """Made dialogues were twenty times as many, and nearly all prompts asked for the name."""
    data = character_data(CARD, CARD.persona, [chat(k) for k in range(60)], TALK)
    learned = data.by_its_own()
    assert learned.train == data.own and data.own_held_out
    assert learned.validation[: len(data.own_held_out)] == data.own_held_out
    assert len(learned.validation) <= max(20, 2 * len(data.own_held_out)) < len(data.validation)
