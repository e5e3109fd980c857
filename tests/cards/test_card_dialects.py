"""Descriptions in the dialects of the chat world -> traits, one fact a line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfsame.cards.card import make_card, make_traits
from selfsame.cards.macros import fill_in
from selfsame.errors import DataError

WPP = """[Character("Nora Lind")
{
Species("Human")
Age("34")
Personality("Stubborn" + "Kind-hearted")
Likes("Old maps" + "Her red boat")
Hates("Loud music")
Occupation("Pilot")
Past("Born in Oslo. She moved to Bergen.")
}]"""


def test_wpp() -> None:
    assert make_traits("Nora Lind", WPP) == (
        "My name is Nora Lind.",
        "My species is human.",
        "I am 34 years old.",
        "I am stubborn.",
        "I am kind-hearted.",
        "I like old maps.",
        "I like my red boat.",
        "I hate loud music.",
        "I work as a pilot.",
        "My past: born in Oslo.",
        "I moved to Bergen.",
    )


@pytest.mark.parametrize(
    "text",
    [
        WPP,
        "[Nora's persona: stubborn, kind; likes: old maps, boats; coat: red(wool, long)]",
        '[ Nora Lind: stubborn, "a bit deaf"; Hates: noise ]\nNora flies planes. [She has a boat.]',
        'likes = old maps + boats\n{{char}}: "stubborn", "kind"',
        "# Nora\n## Likes\n- old maps\n- boats\n\n**Age:** 34\n* She *never* sleeps.\n---\n<b>Tall</b>",
        "[{(Nora is tall.)}]",
    ],
)
def test_no_punctuation_of_a_dialect_is_left(text: str) -> None:
    traits = make_traits("Nora Lind", text)
    assert len(traits) > 1
    joined = "\n".join(traits)
    assert not re.search(r"[\[\]{}\"+*#<>]", joined), joined
    assert not any("likes" in trait.lower() for trait in traits)


def test_plist() -> None:
    traits = make_traits("Nora", "[Nora's persona: stubborn, kind; likes: old maps; clothes: coat(red, long), boots]")
    assert traits[1:] == ("I am stubborn.", "I am kind.", "I like old maps.", "My clothes are coat(red, long), boots.")


def test_lines_and_lists() -> None:
    text = (
        "Age: 34\nLikes: old maps; boats\nHobbies:\n- chess\n- rowing\nBackstory: She was born in Oslo. Then she left."
    )
    assert make_traits("Nora", text)[1:] == (
        "I am 34 years old.",
        "I like old maps.",
        "I like boats.",
        "My hobbies are chess, rowing.",
        "I was born in Oslo.",
        "Then she left.",
    )


def test_you_are_becomes_i_am() -> None:
    text = "You are Nora, a pilot. Your boat is red. You've told {{user}} about it. When you are tired, you row."
    assert make_traits("Nora", text)[1:] == (
        "I am Nora, a pilot.",
        "My boat is red.",
        "I have told you about it.",
        "When I am tired, I row.",
    )


def test_sentences_about_others_stay_as_they_are() -> None:
    text = "Nora Lind flies planes and sings. Her brother is Jan. He lives in Bonn. She says that she is old. They like her."
    assert make_traits("Nora Lind", text)[1:] == (
        "Nora Lind flies planes and sings.",
        "My brother is Jan.",
        "He lives in Bonn.",
        "Nora Lind says that she is old.",
        "They like her.",
    )


def test_macros_are_filled_in() -> None:
    text = "{{// rewrite}}\n{{char}} has {{random:two,three}} boats.{{comment: no}}"
    text += "\n{{user}} sails and {{user}} is her friend.\n<BOT> trusts {{ user }}.{{time}}"
    card = make_card(
        {
            "name": "Nora",
            "description": text,
            "first_mes": "Ahoy, {{user}}! {{user}}? It's {{user}}'s boat. Hi {{user}}.",
        }
    )
    assert card.persona[1:] == ("I have two boats.", "You sail and you are her friend.", "I trust you.")
    assert card.first_message == "Ahoy! It's your boat. Hi."


ENGLISH = re.compile(r"\b(?:is|my|name|you|the|scene|am)\b", re.IGNORECASE)


@pytest.mark.parametrize(
    ("language", "name", "description", "personality", "count"),
    [
        (
            "de",
            "Jana Vogt",
            "Jana Vogt ist Schreinerin. Sie hat einen Hund und mag {{user}}. Alter: 40",
            "ruhig, genau",
            5,
        ),
        ("zh", "王小明", "王小明是木匠。他有一只狗。他喜欢{{user}}。\n爱好：下棋，散步", "安静，仔细", 6),
        ("ja", "ハナ", "ハナは大工です。犬を飼っています！{{user}}の友達です。", "静か", 5),
        ("sv", "Kai", "Kai är snickare och bor i Malmö. Han har en hund och gillar {{user}}.", "lugn", 4),
        ("fr", "Jeanne", "Jeanne est menuisière à Lyon. Elle a un chien et elle aime {{user}}.", "calme", 4),
    ],
)
def test_other_languages_stay_as_they_are(
    language: str, name: str, description: str, personality: str, count: int
) -> None:
    card = make_card(
        {
            "name": name,
            "description": description,
            "personality": personality,
            "first_mes": "…, {{user}}!",
            "scenario": description,
        }
    )
    assert card.language == language
    assert not [trait for trait in (*card.persona, card.first_message) if ENGLISH.search(trait) or "{{" in trait]
    assert len(make_traits(name, description, personality)) == count
    assert name in card.persona[1] and personality in card.persona[1]
    assert card.user_name() == ("" if language in ("zh", "ja") else "Alex")


def test_a_chinese_character_that_is_spoken_to_speaks_of_itself() -> None:
    assert make_traits("王小明", "你是王小明，木匠。你有一只狗。")[1:] == ("我是王小明，木匠。", "我有一只狗。")


PERSONA = ("My name is Ida.", "I bake.", "I have a goat.")
DIALECTS: dict[str, dict[str, Any]] = {
    "v1": {"name": "Ida", "description": "Ida bakes. She has a goat.", "first_mes": "Hi!"},
    "v2": {
        "spec": "chara_card_v2",
        "data": {"name": "Ida", "description": "Ida bakes. She has a goat.", "first_mes": "Hi!"},
    },
    "pygmalion": {"char_name": "Ida", "char_persona": "Ida bakes. She has a goat.", "char_greeting": "Hi!"},
    "agnai, prose": {
        "kind": "character",
        "name": "Ida",
        "description": "Made by me",
        "persona": {"kind": "text", "attributes": {"text": ["Ida bakes. She has a goat."]}},
        "greeting": "Hi!",
    },
    "risu": {"type": "character", "data": {"name": "Ida", "desc": "Ida bakes. She has a goat.", "firstMessage": "Hi!"}},
    "webui": {
        "name": "Ida",
        "context": "Ida bakes. She has a goat.\n<START>\n{{user}}: Yes?\n{{char}}: No.",
        "greeting": "Hi!",
    },
    "backyard": {
        "character": {"aiName": "Ida", "aiPersona": "You are Ida. You bake. You have a goat.", "firstMessage": "Hi!"}
    },
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_has_the_same_fields(dialect: str) -> None:
    card = make_card(DIALECTS[dialect])
    assert tuple(trait for trait in card.persona if trait != "I am Ida.") == PERSONA
    assert (card.name, card.first_message) == ("Ida", "Hi!")


def test_attributes_and_examples_of_agnai() -> None:
    persona = {"kind": "boostyle", "attributes": {"job": ["baker"], "likes": ["goats", "his old oven"], "age": ["40"]}}
    card = make_card({"name": "Ole", "persona": persona, "sampleChat": "{{user}}: Hi\nOle: Ho."})
    assert card.persona[1:] == ("I work as a baker.", "I like goats.", "I like my old oven.", "I am 40 years old.")
    assert [turn.text for turn in card.examples[0]] == ["Hi", "Ho."]


def test_the_fields_found_are_named_where_there_is_no_card() -> None:
    with pytest.raises(DataError, match=r"no name \(its fields: title, text\)"):
        make_card({"title": "Ida", "text": "bakes"})


@pytest.mark.slow
def test_long_cards_of_a_stranger_end() -> None:
    script = Path(__file__).with_name("long_cards.py")
    subprocess.run([sys.executable, script, "8000"], check=True, timeout=300, stdout=subprocess.DEVNULL)


def test_macros_inside_macros() -> None:
    assert fill_in("a {{random::{{char}}::b}} {{ c {{// x }}d}} {{user", "Ida") == "a Ida  {{user"
    assert fill_in("{{// a}}\nb\n {{// {{user}}}}\nc {{// d}}\n", "Ida") == "b\n c \n"
    assert fill_in("{{" * 50 + "char" + "}}" * 50, "Ida") == ""
