"""Rows that belong together, and rows that do not; what is asked is nobody's persona."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from reading_files import jsonl, read, spoken, write
from selfsame.data import encoding
from selfsame.data.containers import read_json
from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings
from selfsame.errors import DataError

BAKER = ("I bake.",)


def talk(**fields: Any) -> list[dict[str, Any]]:
    return [{**fields, "speaker": who, "text": f"{who} {list(fields.values())}"} for who in ("user", "bot")]


@pytest.mark.parametrize(
    "name",
    ["chatId", "sessionId", "threadId", "dialogId", "convId", "conversationID", "episode_id", "room", "channel", "group_id",
     "message_tree_id", "conv_id", "uuid", "dialog_no"],
)  # fmt: skip
@pytest.mark.parametrize("ids", [("a", "b"), (1.0, 2.0), (0, 1)])
def test_messages_of_two_conversations_stay_apart(tmp_path: Path, name: str, ids: tuple[Any, Any]) -> None:
    rows = [row for key in ids for row in talk(**{name: key})]
    dialogues, rejected, _ = read(write(tmp_path, "a.jsonl", jsonl(*rows)), persona=BAKER)
    assert rejected == [] and [[t for _, t in spoken(d)] for d in dialogues] == [
        [row["text"] for row in rows[:2]], [row["text"] for row in rows[2:]],
    ]  # fmt: skip


def test_lists_inside_records_are_not_joined(tmp_path: Path) -> None:
    rows = [{"persona": f"I am {k}.", "a": talk(k=k), "b": talk(k=-k)} for k in (1, 2)]
    dialogues, _, _ = read(write(tmp_path, "a.jsonl", jsonl(*rows)))
    assert [len(d.turns) for d in dialogues] == [2] * 4
    assert [d.personas[1] for d in dialogues] == [("I am 1.",)] * 2 + [("I am 2.",)] * 2


def test_rows_grow_only_where_all_before_is_the_same(tmp_path: Path) -> None:
    def row(who: str, *texts: str) -> dict[str, Any]:
        return {"personality": [who], "history": texts[:-1], "candidates": ["x", texts[-1]]}

    rows = [
        row("A.", "hi", "yo"),
        row("A.", "hi", "yo", "so", "ok"),
        row("A.", "hi", "no", "so", "ok", "b", "c"),
        row("B.", "hi", "no", "so", "ok", "b", "c", "d", "e"),
    ]
    dialogues, _, _ = read(write(tmp_path, "a.jsonl", jsonl(*rows)))
    assert [len(d.turns) for d in dialogues] == [4, 6, 8]


@pytest.mark.parametrize("turn", ["--5", 10**400, "10", 1.5, float("nan")])
def test_a_number_of_any_size_orders_or_does_not(tmp_path: Path, turn: Any) -> None:
    rows = [{**row, "turn": turn, "timestamp": turn} for row in talk(k=1)]
    for name, content in (("a.jsonl", jsonl(*rows)), ("b.jsonl", jsonl({"messages": rows}))):
        assert len(read(write(tmp_path, name, content), persona=BAKER)[0][0].turns) == 2


def test_the_second_session_takes_no_other_records_id(tmp_path: Path) -> None:
    long = [{**row, "timestamp": time} for time in (1.7e9, 1.8e9) for row in talk(k=1)]
    dialogues, rejected, _ = read(
        write(tmp_path, "a.jsonl", jsonl({"id": "q", "messages": long}, {"id": "q-2", "messages": talk(k=2)})),
        persona=BAKER,
    )
    assert rejected == [] and [d.id for d in dialogues] == ["q", "q-3", "q-2"]


def test_what_is_asked_is_no_persona(tmp_path: Path) -> None:
    row = {"instruction": "What do you eat?", "input": "", "output": "Bread."}
    path = write(tmp_path, "a.jsonl", jsonl(row))
    with pytest.raises(DataError, match="neither speaker has a persona"):
        read(path)
    assert read(path, persona=BAKER)[0][0].personas == ((), BAKER)


@pytest.mark.parametrize("name", ["description", "profile", "bio", "traits", "instruction"])
def test_given_traits_win_over_fields_that_tell_of_anything(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, "a.jsonl", jsonl({name: "Scraped from a forum.", "messages": talk(k=1)}))
    (dialogue,), _, notes = read(path, persona=BAKER)
    assert dialogue.personas == ((), BAKER) and notes[0].endswith("persona from data.persona")
    assert read(path)[0][0].personas[1] == ("Scraped from a forum.",)
    assert read(path, persona=BAKER, fields=f"persona={name}")[0][0].personas[1] == ("Scraped from a forum.",)


@pytest.mark.parametrize(
    "history",
    [
        [{"role": "user", "content": "I have a dog."}, {"role": "assistant", "content": "Nice."}],
        ["I have a dog.", "Nice."],
        [["I have a dog.", "Nice."]],
        [["user", "I have a dog."], ["assistant", "Nice."]],
    ],
)
def test_what_was_said_before_a_question(tmp_path: Path, history: Any) -> None:
    row = {"persona": "I bake.", "history": history, "question": "What do I have?", "answer": "A dog."}
    (dialogue,), _, _ = read(write(tmp_path, "a.jsonl", jsonl(row)))
    assert spoken(dialogue) == [(1, "I have a dog."), (2, "Nice."), (1, "What do I have?"), (2, "A dog.")]


def test_a_prompt_with_a_question(tmp_path: Path) -> None:
    rows = [
        {"prompt": prompt, "question": "Who?", "answer": "Bob."} for prompt in ("Be brief.", "You are Bob. You bake.")
    ]
    dialogues, _, _ = read(write(tmp_path, "a.jsonl", jsonl(*rows)), persona=("I dig.",))
    assert [d.turns[0].text for d in dialogues] == ["Be brief.\nWho?", "Who?"]
    assert dialogues[1].personas[1] == ("I am Bob.", "I bake.")


def test_lists_as_numpy_shows_them(tmp_path: Path) -> None:
    cells = [
        "['hi'\n \"I don't\" 'so']",
        "[{'from': 'user', 'value': 'hi'}\n {'from': 'bot', 'value': 'yo'}]",
        "['hi' ... 'so']",
    ]
    quoted = [cell.replace('"', '""') for cell in cells]
    table = "persona,dialog\n" + "".join(f"\"['I bake.' 'I dig.']\",\"{cell}\"\n" for cell in quoted)
    dialogues, rejected, _ = read(write(tmp_path, "a.csv", table))
    assert [spoken(d) for d in dialogues] == [[(1, "hi"), (2, "I don't"), (1, "so")], [(1, "hi"), (2, "yo")]]
    assert {d.personas[1] for d in dialogues} == {("I bake.", "I dig.")}
    assert "has a list that cannot be read" in rejected[0].reason


def test_a_table_after_an_empty_line(tmp_path: Path) -> None:
    table = '\n\r\npersona,dialogue\nI bake.,"User: hi\nBot: ho"\nI bake.\n'
    dialogues, rejected, _ = read(write(tmp_path, "a.csv", table))
    assert dialogues[0].id == "a-00004" and rejected[0].line == 6


def test_a_part_without_rows(tmp_path: Path) -> None:
    row = {"persona": "I bake.", "messages": talk(k=1)}
    assert len(read(write(tmp_path, "a.json", {"train": [row], "validation": []}))[0]) == 1


def test_all_names_of_the_parts_are_known_in_a_folder(tmp_path: Path) -> None:
    for k, name in enumerate(("train", "val", "eval", "extra", "test")):
        write(tmp_path, f"{name}.jsonl", jsonl({"persona": f"I am {k}.", "messages": talk(k=k)}))
    loader = DatasetLoader(DataSettings(path=str(tmp_path)))
    parts, _ = loader.read_parts()
    assert {part: len(found) for part, found in parts.items()} == {"train": 1, "validation": 2}
    notes = [note for source in loader.sources() for note in source.notes]
    assert [n for n in notes if "not used" in n] == [
        f"{name}.jsonl: not used, its name holds no train or validation" for name in ("extra", "test")
    ]


@pytest.mark.parametrize(("suffix", "pack"), [(".xz", lzma.compress), (".gz", gzip.compress)])
def test_a_file_that_unpacks_to_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, pack: Any
) -> None:
    monkeypatch.setattr(encoding, "LARGEST", 1 << 20)
    with pytest.raises(DataError, match="is larger than 1 MB when unpacked"):
        read(write(tmp_path, f"a.jsonl{suffix}", pack(b" " * (2 << 20))))


def test_documents_one_after_the_other_are_not_copied() -> None:
    rows = read_json((json.dumps({"a": "x" * 100}, indent=1) + "\n") * 20_000, Path("a"))[""]
    assert len(rows) == 20_000 and rows[-1][0] == 3 * 19_999 + 1
