"""Names of any kind before a colon, numbers and clocks that are no names, and both sides under one name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reading_files import jsonl, read, spoken, write
from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings
from selfsame.data.tagged import tag_of
from selfsame.errors import DataError

BAKER = ("I bake.",)


@pytest.mark.parametrize("line", ["2:30 works", "1:30", "1: mix\n2: bake", "2: no", "10: ten", "ok :)", "me :D"])
def test_numbers_and_clocks_stay_in_their_turn(tmp_path: Path, line: str) -> None:
    for name, user in (("a.txt", "User"), ("b.txt", "Anna")):
        text = f"{user}: hi\nBot: yes\n{line}\n{user}: well\n{line}\nBot: no\n"
        (dialogue,), _, _ = read(write(tmp_path, name, text), persona=BAKER)
        assert spoken(dialogue) == [(1, "hi"), (2, f"yes\n{line}"), (1, f"well\n{line}"), (2, "no")]


def test_numbers_speak_in_a_text_that_begins_with_one(tmp_path: Path) -> None:
    row = {"persona": "I bake.", "dialogue": "1: hi\n2: yes\n1: well"}
    (dialogue,), _, _ = read(write(tmp_path, "a.jsonl", jsonl(row)))
    assert spoken(dialogue) == [(1, "hi"), (2, "yes"), (1, "well")]


NAMES = [
    "3vil_kat",
    "🐱 Kit",
    "🐱",
    "007",
    "Kit (aside)",
    "Dr. O'Neil, MD",
    "The Old Man Of The Sea",
    "@kit",
    "Max von Au",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_signs_sets_its_dialogue_aside(tmp_path: Path, name: str) -> None:
    rows = [
        {"persona": "I bake.", "dialogue": f"User: hi\nBot: yes\n{line}User: well"} for line in ("", f"{name}: hm\n")
    ]
    dialogues, rejected, _ = read(write(tmp_path, "a.jsonl", jsonl(*rows)))
    assert len(dialogues) == 1 and "may be another speaker's" in rejected[0].reason


@pytest.mark.parametrize("name", ["old man", "the guard at the door", *NAMES])
def test_a_prefix_that_comes_back_speaks(tmp_path: Path, name: str) -> None:
    text = f"Ben: ho\n{name}: stop\nBen: well\n{name}: go\nBen: no\n"
    (dialogue,), _, _ = read(write(tmp_path, "a.txt", text), bot="Ben", persona=BAKER)
    assert spoken(dialogue) == [(2, "ho"), (1, "stop"), (2, "well"), (1, "go"), (2, "no")]
    row = {"persona": "I bake.", "dialogue": f"User: hi\nBot: yes\n{name}: hm\nUser: well\nBot: no\n{name}: hm"}
    with pytest.raises(DataError, match=r"who is the bot\?"):
        read(write(tmp_path, "a.jsonl", jsonl(row)))


def test_a_prefix_of_another_dialogue_of_the_file_is_a_stranger(tmp_path: Path) -> None:
    text = "Ben: ho\nold man: stop\nBen: no\nAnna: yes\n---\nBen: ho\nAnna: yes\nBen: no\nold man: hm\n"
    dialogues, _, _ = read(write(tmp_path, "a.txt", text), bot="Ben", persona=BAKER)
    assert [turn[1] for d in dialogues for turn in spoken(d) if "old man" in turn[1]] == [
        "old man: stop",
        "old man: hm",
    ]


def test_words_of_ordinary_text_speak_for_nobody_alone(tmp_path: Path) -> None:
    row = {"persona": "I bake.", "dialogue": "User: hi\nBot: yes\nAnswer: no\nUser: well"}
    with pytest.raises(DataError, match="may be another speaker's, 'Answer'"):
        read(write(tmp_path, "a.jsonl", jsonl(row)))


def test_both_sides_under_one_name(tmp_path: Path) -> None:
    rows = [
        {"name": "Alex", "is_user": flag, "mes": text} for flag, text in ((True, "hi"), (False, "yes"), (True, "so"))
    ]
    said = [(1, "hi"), (2, "yes"), (1, "so")]
    header = {"user_name": "Alex", "character_name": "Alex"}
    for name, content in (
        ("a.jsonl", jsonl(*rows)),
        ("b.jsonl", jsonl(header, *rows)),
        ("c.jsonl", jsonl({"messages": rows})),
    ):
        path = write(tmp_path, name, content)
        assert spoken(read(path, persona=BAKER)[0][0]) == said
        assert spoken(read(path, persona=BAKER, bot="Alex")[0][0]) == said
    flagged = [{"isUser": row["is_user"], "mes": row["mes"]} for row in rows]
    assert spoken(read(write(tmp_path, "d.jsonl", jsonl(*flagged)), persona=BAKER)[0][0]) == said


def test_a_line_of_many_spaces_is_read_at_once(tmp_path: Path) -> None:
    for line in ("a" + " " * 300_000 + "x", "* " * 150_000, "a" + "_" * 300_000 + "x"):
        assert tag_of(line) is None
    text = f"[12.03.24, 10:00:00] Al: a{' ' * 300_000}x\n[12.03.24, 10:01:00] Bo: yes <this message was edited>\n"
    ((dialogue,), _) = DatasetLoader(DataSettings(bot="Bo", persona=BAKER)).read(write(tmp_path, "a.txt", text))
    assert dialogue.turns[1].text == "yes"


def test_pairs_of_what_is_asked_and_answered(tmp_path: Path) -> None:
    rows = [{"persona": "I bake.", "turns": pairs} for pairs in (
        [["hi", "hello"], ["how are you", "good"]], [["hi", "hello"], ["why", "so"], ["bye", "bye"]],
    )]  # fmt: skip
    dialogues, rejected, _ = read(write(tmp_path, "a.jsonl", jsonl(*rows)))
    assert rejected == []
    assert [[t for _, t in spoken(d)] for d in dialogues] == [[t for p in row["turns"] for t in p] for row in rows]


def test_names_of_a_chat_that_begin_alike(tmp_path: Path) -> None:
    said = [("Anna", "hi"), ("Anna Maria Lopez", "I know. Some details were omitted"), ("Anna", "null"),
            ("Anna created the group", "x"), ("Anna Maria Lopez", "<3 you>"), ("Anna", "image omitted")]  # fmt: skip
    text = "".join(f"[12.03.24, 10:0{k}:00] {name}: {words}\n" for k, (name, words) in enumerate(said))
    (dialogue,), _, notes = read(write(tmp_path, "a.txt", text), bot="Anna", persona=BAKER)
    assert spoken(dialogue) == [(2, "hi"), (1, said[1][1]), (2, "null"), (1, "<3 you>")]
    assert notes[1].endswith("2 system lines and media")


def test_a_first_line_of_json_is_json(tmp_path: Path) -> None:
    row = {"persona": ["I bake."], "dialogue": "User: hi __eou__ 1\nBot: hello"}
    (dialogue,), _, _ = read(write(tmp_path, "a.jsonl", json.dumps(row)))
    assert spoken(dialogue) == [(1, "hi __eou__ 1"), (2, "hello")]
