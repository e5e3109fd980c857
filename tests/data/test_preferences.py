"""The user's own preference pairs: every form that such files have, and the way back."""

import json
from pathlib import Path
from typing import Any

import pytest

from selfsame.data.preferences import GIVEN, read_preferences, split_pairs, write_preferences
from selfsame.data.settings import DataSettings
from selfsame.errors import DataError
from selfsame.types import PreferencePair, Prompt

SYSTEM = {"role": "system", "content": "I have two dogs. I teach chemistry."}
PETS = Prompt(("I have two dogs.", "I teach chemistry."), ("Any pets?",))
BARE = Prompt((), ("Any pets?",))


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


FORMS = {
    "plain": ({"prompt": "Any pets?", "chosen": "Two dogs!", "rejected": "None."}, BARE),
    "plain with a system text": (
        {"system": "You are Marta. You bake.", "prompt": "Any pets?", "chosen": "Two dogs!", "rejected": "None."},
        Prompt(("I am Marta.", "I bake."), ("Any pets?",)),
    ),
    "conversational": (
        {
            "prompt": [SYSTEM, said("user", "Any pets?")],
            "chosen": [said("assistant", "Two dogs!")],
            "rejected": [said("assistant", "None.")],
        },
        PETS,
    ),
    "the prompt in both": (
        {
            "chosen": [SYSTEM, said("user", "Any pets?"), said("assistant", "Two dogs!")],
            "rejected": [SYSTEM, said("user", "Any pets?"), said("assistant", "None.")],
        },
        PETS,
    ),
    "HH-RLHF": (
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello: you!\n\nHuman: Any pets?\n\nAssistant: Two dogs!",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Hello: you!\n\nHuman: Any pets?\n\nAssistant: None.",
        },
        Prompt((), ("Hi", "Hello: you!", "Any pets?")),
    ),
    "HH-RLHF with a prompt": (
        {"prompt": "\n\nHuman: Any pets?\n\nAssistant:", "chosen": " Two dogs!", "rejected": " None."},
        BARE,
    ),
    "a prompt next to whole dialogues": (
        {
            "prompt": "Any pets?",
            "chosen": [said("user", "Any pets?"), said("assistant", "Two dogs!")],
            "rejected": [said("user", "Any pets?"), said("assistant", "None.")],
        },
        BARE,
    ),
    "LLaMA-Factory": (
        {
            "conversations": [{"from": "human", "value": "Any pets?"}],
            "chosen": {"from": "gpt", "value": "Two dogs!"},
            "rejected": {"from": "gpt", "value": "None."},
        },
        BARE,
    ),
    "Selfsame": (
        {"persona": [*PETS.persona], "context": ["Any pets?"], "chosen": "Two dogs!", "rejected": "None."},
        PETS,
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_pair(tmp_path: Path, form: str) -> None:
    row, prompt = FORMS[form]
    found = read_preferences(write(tmp_path, row), DataSettings())
    assert found.pairs == [PreferencePair(prompt, "Two dogs!", "None.", GIVEN)]


def test_a_reply_of_several_paragraphs_is_one_reply(tmp_path: Path) -> None:
    row = {"prompt": "How are you?\n\nReally?", "chosen": "Great!\n\nNote: I bake.", "rejected": "Bad."}
    (pair,) = read_preferences(write(tmp_path, row), DataSettings()).pairs
    assert (pair.prompt.history, pair.chosen) == (("How are you?\n\nReally?",), "Great!\n\nNote: I bake.")


def test_the_name_that_chats_are_read_by_is_no_bar(tmp_path: Path) -> None:
    row, prompt = FORMS["conversational"]
    assert read_preferences(write(tmp_path, row), DataSettings(bot="Marta")).pairs[0].prompt == prompt


def test_labels_and_scores_rank_replies_to_one_prompt(tmp_path: Path) -> None:
    asked = {"persona": ["I sing."], "context": ["Hi", "Hello", "Hobby?"]}
    rows = [
        asked | {"reply": text, "label": good} for text, good in (("I sing.", True), ("What?", False), ("No.", "false"))
    ]
    rows += [
        {"prompt": "Up?", "completion": text, "score": score} for text, score in (("Much.", 3), ("I", 1), ("Sky", "2"))
    ]
    rows += [{"prompt": "Alone?", "completion": "Yes.", "rating": 5}]
    rows += [{"prompt": "Up?", "completion": "I", "score": 2}]
    found = read_preferences(write(tmp_path, *rows), DataSettings())
    made = [(pair.prompt.history[-1], pair.chosen, pair.rejected) for pair in found.pairs]
    assert made[:2] == [("Hobby?", "I sing.", "What?"), ("Hobby?", "I sing.", "No.")]
    assert made[2] == ("Up?", "Much.", "I") and set(made[3:]) == {("Up?", "Much.", "Sky"), ("Up?", "Sky", "I")}
    assert [str(row.reason) for row in found.rejected] == ["the same reply was marked differently before"]
    assert found.left_over == 1 and found.pairs[0].prompt == Prompt(("I sing.",), ("Hi", "Hello", "Hobby?"))


def test_the_persona_is_given_where_rows_bring_none(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "Any pets?", "chosen": "Two dogs!", "rejected": "None."})
    found = read_preferences(path, DataSettings(persona=("I have two dogs.",)))
    assert found.pairs[0].prompt.persona == ("I have two dogs.",)
    assert "without a persona" not in found.summary("pairs.jsonl")
    assert "1 of them without a persona" in read_preferences(path, DataSettings()).summary("pairs.jsonl")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "x?", "chosen": "a", "rejected": "a"}, "are the same reply"),
        ({"prompt": "x?", "chosen": "a", "rejected": ""}, "has 1 turns"),
        ({"foo": 1}, "its fields are 'foo'"),
        ({"prompt": "x?", "completion": "a", "label": "maybe"}, "label is neither true, false nor a number: 'maybe'"),
        ({"prompt": "x?", "completion": "a", "score": float("nan")}, "score is neither"),
        ({"prompt": "x?", "completion": "a", "score": 10**400}, "score is neither"),
        ({"prompt": "x?", "chosen": 3, "rejected": "b"}, "is a text or a list of messages"),
        (
            {
                "chosen": [said("user", "a"), said("assistant", "b")],
                "rejected": [said("user", "c"), said("assistant", "d")],
            },
            "replies to different prompts",
        ),
        (
            {"prompt": [said("assistant", "a")], "chosen": "b", "rejected": "c"},
            "does not end with a turn of the partner and a reply of the bot",
        ),
    ],
)
def test_a_row_that_is_no_pair_is_set_aside_with_its_reason(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    good = {"prompt": "Any pets?", "chosen": "Two dogs!", "rejected": "None."}
    found = read_preferences(write(tmp_path, row, good), DataSettings())
    assert len(found.pairs) == 1 and found.rejected[0].line == 1
    assert reason in found.rejected[0].reason
    with pytest.raises(DataError, match="no preference pair in 1 rows"):
        read_preferences(write(tmp_path, row), DataSettings())


def test_pairs_are_written_for_other_trainers_and_read_again(tmp_path: Path) -> None:
    pairs = [
        PreferencePair(PETS, "Two dogs!", "None: sorry.", "contradicted"),
        PreferencePair(Prompt(("I sing. A lot.",), ("", "Hello", "Hobby?")), "Human: no", "b", "bland"),
    ]
    write_preferences(pairs, tmp_path / "out.jsonl")
    assert read_preferences(tmp_path / "out.jsonl", DataSettings()).pairs == pairs
    row = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert row["prompt"] == [
        {"role": "system", "content": "I have two dogs.\nI teach chemistry."},
        said("user", "Any pets?"),
    ]


def test_pairs_of_held_out_people_are_measured_on() -> None:
    pairs = [PreferencePair(Prompt((f"I am {k}.",), (f"{k}?",)), "a", "b", GIVEN) for k in range(200)]
    train, held_out = split_pairs(pairs, [("i am 7.",)], 0.15)
    assert pairs[7] in held_out and len(train) + len(held_out) == 200 and 15 <= len(held_out) <= 45
    assert split_pairs(pairs, [("i am 7.",)], 0.15) == (train, held_out)
    assert split_pairs(pairs, [], 0.0)[1] == []
