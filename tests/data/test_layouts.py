"""Dialogues in the layouts of other tools: records whose fields are found by what they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reading_files import jsonl, read, spoken, write
from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings
from selfsame.errors import DataError

TALK = [(1, "Any pets?"), (2, "A goat."), (1, "And work?"), (2, "I dig wells.")]
TRAITS = ("I have a goat.", "I dig wells.")


def turns(user: str, bot: str, who: str = "role", text: str = "content") -> list[dict[str, str]]:
    return [{who: (user, bot)[speaker - 1], text: said} for speaker, said in TALK]


SYSTEM = {"role": "system", "content": " ".join(TRAITS)}
LAYOUTS: dict[str, Any] = {
    "sharegpt": {
        "conversations": [{"from": "system", "value": " ".join(TRAITS)}, *turns("human", "gpt", "from", "value")]
    },
    "openai": {"messages": [SYSTEM, *turns("user", "assistant")]},
    "openai parts": {
        "messages": [
            {"role": "developer", "content": " ".join(TRAITS)},
            *({**t, "content": [{"type": "text", "text": t["content"]}]} for t in turns("user", "assistant")),
        ]
    },
    "llama-factory": {"system": "\n".join(TRAITS), "conversations": turns("human", "gpt", "from", "value")},
    "only a list": [SYSTEM, *turns("user", "assistant")],
    "trl prompt and completion": {
        "prompt": [SYSTEM, *turns("user", "assistant")[:3]],
        "completion": turns("user", "assistant")[3:],
    },
    "personachat": {
        "personality": [*TRAITS],
        "utterances": [
            {"candidates": ["No.", "A goat."], "history": ["Any pets?"]},
            {"candidates": ["No.", "I dig wells."], "history": ["Any pets?", "A goat.", "And work?"]},
        ],
    },
    "alpaca with history": {
        "system": " ".join(TRAITS), "instruction": "And work?", "input": "", "output": "I dig wells.",
        "history": [["Any pets?", "A goat."]],
    },
    "columns of the hub": {
        "persona": [*TRAITS],
        "dialog": {"speaker": ["user", "bot", "user", "bot"], "text": [said for _, said in TALK]},
    },
    "texts that alternate": {"personality": [*TRAITS], "dialog": [said for _, said in TALK]},
    "pairs": {"persona": [*TRAITS], "turns": [[("Human", "AI")[who - 1], said] for who, said in TALK]},
    "exchanges": {
        "persona": [*TRAITS],
        "conversation": [{"user": "Any pets?", "bot": "A goat."}, {"user": "And work?", "bot": "I dig wells."}],
    },
    "one key a turn": {
        "profile": [*TRAITS], "chat": [{("user", "assistant")[who - 1]: said} for who, said in TALK],
    },
    "flags and a character": {
        "bot_name": "Rosa", "bot_description": " ".join(TRAITS),
        "conversation": [{"message": said, "is_human": who == 1} for who, said in TALK],
    },
    "wrapped": {"version": 3, "data": {"rows": [{"persona": [*TRAITS], "turns": turns("User", "Bot", "speaker", "text")}]}},
    "the persona around the chats": {
        "character": {"name": "Rosa", "traits": [*TRAITS]}, "chats": [{"log": turns("user", "assistant")}],
    },
    "names of one's own": {
        "bot_persona": [*TRAITS], "stuff": turns("Human", "Bot", "nickname", "blurb"),
    },
    "the persona as instruction": {
        "instruction": "You are Rosa. You have a goat. You dig wells.", "input": "Any pets?", "output": "A goat.",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("container", ["lines", "list", "object", "parquet"])
def test_layouts_of_other_tools(tmp_path: Path, name: str, container: str) -> None:
    record = LAYOUTS[name]
    if container == "lines":
        path = write(tmp_path, "a.jsonl", jsonl(record, record))
    elif container == "parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        record = {"turns": record} if isinstance(record, list) else record
        path = tmp_path / "a.parquet"
        if name == "openai parts":
            pytest.skip("a column of texts and lists is no Parquet")
        parquet.write_table(arrow.Table.from_pylist([record]), path)
    else:
        path = write(tmp_path, "a.json", [record] if container == "list" else record)
    dialogues, rejected, notes = read(path)
    assert rejected == []
    assert len(dialogues) == (2 if container == "lines" else 1)
    instruction = name == "the persona as instruction"
    assert spoken(dialogues[-1]) == (TALK[:2] if instruction else TALK)
    assert dialogues[-1].personas == ((), ("I am Rosa.", *TRAITS) if instruction else TRAITS)
    assert sum(f": {len(dialogues)} dialogues; bot = " in note for note in notes) == 1


def test_notes_say_what_was_understood(tmp_path: Path) -> None:
    tool = {"role": "tool", "content": "42"}
    rows = [{"messages": [SYSTEM, *turns("user", "assistant"), tool, {"role": "assistant", "content": None}]}] * 3
    _, _, notes = read(write(tmp_path, "chats.jsonl", jsonl(*rows)))
    assert notes == [
        "chats.jsonl: messages: 3 dialogues; bot = 'assistant'; persona from the system message",
        "chats.jsonl: turns left out: 3 of 'tool', 3 without text",
    ]


def test_a_system_text_for_the_model_becomes_traits_in_the_first_person(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "system", "content": text}, *turns("user", "assistant")]} for text in (
        "You are Rosa. You have a goat.\n- You dig wells.", "I have a goat.\n* I dig wells. I rest.",
    )]  # fmt: skip
    dialogues, _, _ = read(write(tmp_path, "a.jsonl", jsonl(*rows)))
    assert dialogues[0].personas[1] == ("I am Rosa.", *TRAITS)
    assert dialogues[1].personas[1] == (*TRAITS, "I rest.")


def test_two_turns_in_a_row_and_a_bot_that_opens(tmp_path: Path) -> None:
    talk = [{"from": "gpt", "value": "Hey!"}, {"from": "human", "value": "Hi."}, {"from": "human", "value": "You?"}]
    (dialogue,), _, _ = read(write(tmp_path, "a.json", [{"system": "I bake.", "conversations": [*talk, talk[0]]}]))
    assert dialogue.seen_by(2).turns == ("", "Hey!", "Hi.\nYou?", "Hey!")


def test_rows_of_one_utterance_are_one_dialogue(tmp_path: Path) -> None:
    def rows(key: int | None, trait: str) -> list[dict[str, Any]]:
        history = [said for _, said in TALK]
        made = [{"history": history[: 2 * k + 1], "candidates": ["No.", history[2 * k + 1]]} for k in range(2)]
        return [{"personality": [trait], **row} | ({} if key is None else {"conv_id": key}) for row in made]

    for keys in ((0, 1), (None, None)):
        path = write(tmp_path, "a.jsonl", jsonl(*rows(keys[0], "I dig."), *rows(keys[1], "I bake.")))
        dialogues, rejected, _ = read(path)
        assert rejected == [] and [spoken(dialogue) for dialogue in dialogues] == [TALK, TALK]
        assert [dialogue.personas[1] for dialogue in dialogues] == [("I dig.",), ("I bake.",)]


def test_one_file_with_its_own_parts(tmp_path: Path) -> None:
    def rows(count: int, start: int) -> list[Any]:
        return [
            {"persona": [f"I own {k} boats."], "dialog": [f"Boats {k}?", f"Yes, {k * 3}."]}
            for k in range(start, start + count)
        ]

    dataset = DatasetLoader(
        DataSettings(path=str(write(tmp_path, "a.json", {"train": rows(5, 0), "valid": rows(2, 9)})))
    ).load()
    assert dataset.dialogues == {"train": 5, "validation": 2}


def test_messages_a_row_are_put_together(tmp_path: Path) -> None:
    rows = [f"{chat},{k},{who},{chat} says {k},I bake." for k in (1, 0) for chat, who in (("x", f"u{k}"), ("y", "bot"))]
    table = "conversation_id,turn_id,speaker,text,persona\n" + "\n".join(rows).replace("u0", "user").replace(
        "u1", "bot"
    )
    dialogues, rejected, _ = read(write(tmp_path, "a.csv", table))
    assert [spoken(d) for d in dialogues] == [[(1, "x says 0"), (2, "x says 1")], [(2, "y says 0"), (2, "y says 1")]]
    assert rejected == [] and [d.id for d in dialogues] == ["a-00004", "a-00005"]


def test_fields_can_be_named(tmp_path: Path) -> None:
    talk = [
        {"a": "Zoe", "b": said, "c": f"{said} thought"} if who == 2 else {"a": "Ann", "b": said, "c": "x y"}
        for who, said in TALK
    ]
    path = write(tmp_path, "a.json", [{"facts": [*TRAITS], "extra": [*talk], "hero": "Zoe"}])
    with pytest.raises(DataError, match=r"its fields are 'facts', 'extra', 'hero'.*--data\.fields"):
        read(path)
    given = ("turns=extra", "speaker=a", "text=b")
    for bot in ("hero", "Zoe"):
        (dialogue,), _, _ = read(path, fields=(*given, "persona=facts", f"bot={bot}"))
        assert spoken(dialogue) == TALK and dialogue.personas == ((), TRAITS)
    with pytest.raises(DataError, match="has no field 'nothing' for the persona; its fields are 'facts'"):
        read(path, fields=(*given, "persona=nothing"))
    with pytest.raises(DataError, match="its fields are 'facts'"):
        read(path, fields=("turns=nothing",))
    assert DataSettings(fields=("turns=extra, text=b", "bot=x")).given_fields() == {
        "turns": "extra",
        "text": "b",
        "bot": "x",
    }
    for wrong in ("turns", "turns=", "=x", "words=x"):
        with pytest.raises(ValueError, match=f"{wrong}' is not one of turns=FIELD, speaker=FIELD"):
            DataSettings(fields=(wrong,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (jsonl({"chosen": "x", "rejected": "y"}), "line 1: is a preference pair"),
        (
            jsonl({"mensajes": [1]}, {"mensajes": [1]}),
            "line 1 and 1 more: has no turns .* fields are 'mensajes', the nearest form is OpenAI",
        ),
        (json.dumps({"instruct": "x", "outputs": "y"}, indent=1), "the nearest form is Alpaca"),
        ('{\n "messages": [\n  {"role": "user"', "is not JSON: .*cut short"),
        (
            jsonl({"messages": turns("user", "assistant"), "about": "I bake."}),
            "or its field .'about'. with --data.fields persona=",
        ),
        ("<html></html>", "is HTML"),
        ("A long story\nwithout names", "is in no known form; its first line is 'A long story'"),
    ],
)
def test_refusals_name_the_fields_and_the_nearest_form(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path, "a.txt", content))
    assert "\n" not in str(caught.value)


def test_what_is_whole_of_a_broken_file_is_read(tmp_path: Path) -> None:
    record = json.dumps({"persona": [*TRAITS], "turns": [["user", "Hi"], ["bot", "Ho"]]})
    dialogues, rejected, _ = read(write(tmp_path, "a.json", f"[{record},\n{record},\n{record[:-9]}"))
    assert [d.id for d in dialogues] == ["a-00001", "a-00002"]
    assert [(row.line, row.reason[:54]) for row in rejected] == [
        (3, "is not JSON, so that the rest of the list is not read:")
    ]
    two = json.dumps(json.loads(record), indent=1)
    assert [d.id for d in read(write(tmp_path, "b.json", f"{two}\n{two}"))[0]] == ["b-00001", "b-00017"]


def test_what_is_bad_among_nested_dialogues_is_told(tmp_path: Path) -> None:
    good = {"persona": "I dig.", "turns": [["user", "a"], ["bot", "b"]]}
    strange = {"persona": "I dig.", "dialogue": "User: hi\nBot: yes\nAnna: me"}
    path = write(tmp_path, "a.json", {"about": {"site": "x"}, "data": [good, strange, {"price": 1}]})
    dialogues, rejected, _ = read(path)
    assert len(dialogues) == 1
    assert [row.reason[:30] for row in rejected] == ["line 3 of the conversation may", "has no turns that can be read;"]
    dialogues, rejected, _ = read(write(tmp_path, "b.json", ["good", good, 5]))
    assert len(dialogues) == 1
    assert [(row.line, row.reason) for row in rejected] == [
        (2, "is not a JSON object: 'good'"), (16, "is not a JSON object: 5"),
    ]  # fmt: skip


def test_rows_in_memory() -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"persona": [f"I own {k} boats."], "dialog": [f"Boats {k}?", f"Yes, {k * 3}."]} for k in range(9)]
    for records in (
        rows,
        iter(rows),
        datasets.Dataset.from_list(rows),
        datasets.DatasetDict(train=datasets.Dataset.from_list(rows)),
    ):
        parts, rejected = DatasetLoader(records=records).read_parts()
        assert rejected == [] and len(parts["train"]) == 9
        assert parts["train"][8].id == "train-00009" and spoken(parts["train"][0]) == [(1, "Boats 0?"), (2, "Yes, 0.")]
    assert DatasetLoader(records={"train": rows[:7], "validation": rows[7:]}).load().dialogues == {
        "train": 7,
        "validation": 2,
    }
    with pytest.raises(DataError, match="records: has no train split but test"):
        DatasetLoader(records={"test": rows}).load()
