"""Who is the bot, strangers, slots, turns that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reading_files import jsonl, read, spoken, write
from selfsame.errors import DataError


def table(*dialogues: str, persona: str = "I dig.|I bake.") -> str:
    rows = "".join(f'{persona},"{dialogue}"\n' for dialogue in dialogues)
    return f"persona,dialogue\n{rows}"


def test_the_other_of_two_is_the_bot(tmp_path: Path) -> None:
    pairs = [
        ("User", "Assistant"),
        ("User", "Rosa"),
        ("Human", "Olek"),
        ("You", "AI"),
        ("Ida", "Bot"),
        ("<USER>", "{{char}}"),
    ]
    dialogues, rejected, notes = read(
        write(tmp_path, "a.csv", table(*(f"{user}: hi\n{bot}: yes\n{user}: well" for user, bot in pairs)))
    )
    assert rejected == [] and len(dialogues) == len(pairs)
    assert {tuple(spoken(dialogue)) for dialogue in dialogues} == {((1, "hi"), (2, "yes"), (1, "well"))}
    assert notes == ["a.csv: dialogue: 6 dialogues; bot = 'Assistant', 'Rosa', 'Olek' and 3 more; persona from persona"]


def test_two_names_that_say_nothing_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", table("Ida: hi\nRosa: yes\nIda: well"))
    with pytest.raises(DataError, match=r"who is the bot\? Its speakers are 'Ida' .2 turns., 'Rosa' .1 turns.; name"):
        read(path)
    assert spoken(read(path, bot="rosa")[0][0]) == [(1, "hi"), (2, "yes"), (1, "well")]
    named = {"character": "Rosa", "persona": "I dig.", "turns": [["Ida", "hi"], ["Rosa", "yes"]]}
    assert spoken(read(write(tmp_path, "b.jsonl", jsonl(named)))[0][0]) == [(1, "hi"), (2, "yes")]


def test_a_third_speaker_is_in_nobodys_turn(tmp_path: Path) -> None:
    crowd = "User: hi\nBot: yes\nAnna: I have horses\nUser: well\nBot: no\nAnna: horses!"
    path = write(tmp_path, "a.csv", table("User: hi\nBot: yes", crowd))
    dialogues, rejected, _ = read(path)
    assert len(dialogues) == 1
    assert [str(row) for row in rejected] == [
        f"{path}:4: has 3 speakers, 'User' (2 turns), 'Bot' (2 turns), 'Anna' (2 turns); say who is the bot: --data.bot NAME"
    ]
    dialogues, rejected, _ = read(path, bot="Bot")
    assert rejected == [] and spoken(dialogues[1]) == [
        (1, "User: hi"), (2, "yes"), (1, "Anna: I have horses"), (1, "User: well"), (2, "no"), (1, "Anna: horses!"),
    ]  # fmt: skip
    objects = [{"speaker": who, "text": "x y"} for who in ("user", "bot", "Anna")]
    with pytest.raises(DataError, match=r"'Anna' .1 turns.; name one: --data\.bot bot"):
        read(write(tmp_path, "b.jsonl", jsonl({"persona": "I dig.", "turns": objects})))


@pytest.mark.parametrize(
    "line",
    [
        "Anna: I have horses",
        "anna: horses",
        "Dr. Who: hm",
        "李雷: 你好",
        "李雷：你好",
        "**Anna**: hm",
        "[Anna]: hm",
        "Listen: no",
    ],
)
def test_a_line_that_may_be_a_strangers_sets_its_dialogue_aside(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, "a.csv", table("User: hi\nBot: yes", f"User: hi\nBot: yes\n{line}\nUser: well"))
    dialogues, rejected, _ = read(path)
    assert len(dialogues) == 1 and rejected[0].line == 4
    assert rejected[0].reason.startswith("line 3 of the conversation may be another speaker's")


@pytest.mark.parametrize(
    "line",
    [
        "Note: I hate Mondays",
        "http://a.b/c",
        "https://a.b",
        "PS: bye",
        "I have one rule: never",
        "at 10:30 then",
        "12:30 works",
        ":)",
    ],
)
def test_a_colon_in_a_sentence_is_no_speaker(tmp_path: Path, line: str) -> None:
    dialogues, rejected, _ = read(write(tmp_path, "a.csv", table(f"User: hi\nBot: yes\n{line}\nUser: well")))
    assert rejected == [] and spoken(dialogues[0]) == [(1, "hi"), (2, f"yes\n{line}"), (1, "well")]


def test_lines_without_names_alternate(tmp_path: Path) -> None:
    """The Kaggle copy of PersonaChat; the persona is the second speaker's."""
    text = ',Persona,chat\n0,"i dig. i bake.","any pets?\na goat.\nand work?\n"\n1,"i dig.","Anna: hi\nyes\nBo: no"\n'
    text += "2,i dig.,one\n"
    dialogues, rejected, notes = read(write(tmp_path, "personality.csv", text))
    assert [spoken(d) for d in dialogues] == [[(1, "any pets?"), (2, "a goat."), (1, "and work?")]]
    assert dialogues[0].personas == ((), ("i dig.", "i bake."))
    assert [row.line for row in rejected] == [6, 9]
    assert notes == ["personality.csv: chat: 1 dialogues; bot = the second of two who alternate; persona from persona"]


def test_a_turn_that_cannot_be_used_costs_that_turn(tmp_path: Path) -> None:
    turns: list[Any] = [
        ["user", "hi"],
        ["bot", ""],
        ["user", "there?"],
        ["bot", "🐝🐝"],
        ["user", None],
        ["bot", "\ud83d"],
        "x",
    ]
    text = jsonl({"persona": "I dig.", "turns": [*turns, ["bot", "yes"]]})
    dialogues, rejected, notes = read(write(tmp_path, "a.jsonl", json.dumps(json.loads(text)).encode()))
    assert rejected == [] and spoken(dialogues[0]) == [(1, "hi"), (1, "there?"), (2, "🐝🐝"), (2, "yes")]
    assert notes[1].startswith("a.jsonl: turns left out: 2 without text, 1 holds half a surrogate pair")
    with pytest.raises(DataError, match=r"has 1 turns .turn 2 has no text., at least 2 are needed"):
        read(write(tmp_path, "b.jsonl", jsonl({"persona": "I dig.", "turns": turns[:2]})))


def test_selfsames_own_form_nearly_right(tmp_path: Path) -> None:
    talk = [{"speaker": "User", "text": "hi"}, {"speaker": "BOT", "text": "yes"}]
    rows = [
        {"persona": "I dig. I bake.", "turns": talk},
        {"persona": ["I dig.", "I bake.", " I  dig."], "turns": [*talk[:1], {**talk[1], "traits": [2, 1]}]},
        {
            "user_persona": ["I sing."],
            "bot_persona": "I dig.|I bake.",
            "turns": [["human", "hi"], ["assistant", "yes"]],
        },
        {"user1_persona": "I sing.", "user2_persona": "I dig. I bake.", "turns": [["User 1", "hi"], ["User 2", "yes"]]},
    ]
    dialogues, rejected, _ = read(write(tmp_path, "a.jsonl", jsonl(*rows)))
    assert rejected == [] and {d.personas[1] for d in dialogues} == {("I dig.", "I bake.")}
    assert [d.personas[0] for d in dialogues] == [(), (), ("I sing.",), ("I sing.",)]
    assert dialogues[1].turns[1].traits == (0, 1)  # a trait said twice counts once
    assert all(spoken(d) == [(1, "hi"), (2, "yes")] for d in dialogues)


def test_the_bot_asked_for_of_two_with_personas(tmp_path: Path) -> None:
    row = {"user1_persona": ["I sing."], "user2_persona": ["I dig."], "turns": [[1, "hi"], [2, "yes"]]}
    (dialogue,), _, _ = read(write(tmp_path, "a.jsonl", jsonl(row)), bot="user 1")
    assert dialogue.personas == (("I dig.",), ("I sing.",)) and spoken(dialogue) == [(2, "hi"), (1, "yes")]


def test_given_traits_fill_a_gap_only(tmp_path: Path) -> None:
    rows = [{"persona": "I dig.", "dialog": ["a", "b"]}, {"dialog": ["a", "b"]}]
    dialogues, _, notes = read(write(tmp_path, "a.jsonl", jsonl(*rows)), persona=("I bake.",))
    assert [d.personas[1] for d in dialogues] == [("I dig.",), ("I bake.",)]
    assert notes[0].endswith("persona from persona, data.persona")


SLOTS = [
    ["user", "Morning, {{char}}! {{char}}'s up?"],
    ["bot", "Morning, {{user}}. {{char}} is here for {{user}}."],
    ["user", "{{user}} is late"],
]


@pytest.mark.parametrize(
    ("row", "personas", "texts"),
    [
        (
            {"persona": ["{{char}} is called Rosa.", "{{Char}} likes <USER>."]},
            ("Rosa is called Rosa.", "Rosa likes you."),
            ["Morning, Rosa! Rosa's up?", "Morning. Rosa is here for you.", "I am late"],
        ),
        (
            {"persona": ["{{char}} has a goat."], "bot_name": "Olek", "user_name": "Ida"},
            ("Olek has a goat.",),
            ["Morning, Olek! Olek's up?", "Morning, Ida. Olek is here for Ida.", "Ida is late"],
        ),
        (
            {"persona": ["{{char}} has a goat.", "{{char}}'s roof leaks."]},
            ("I have a goat.", "My roof leaks."),
            ["Morning! Your up?", "Morning. I am here for you.", "I am late"],
        ),
    ],
)
def test_slots_are_filled_in(tmp_path: Path, row: dict[str, Any], personas: tuple[str, ...], texts: list[str]) -> None:
    (dialogue,), _, _ = read(write(tmp_path, "a.jsonl", jsonl(row | {"turns": SLOTS})))
    assert dialogue.personas[1] == personas
    assert [turn.text for turn in dialogue.turns] == texts
