"""`selfsame labels` and `selfsame compare --labels`."""

from __future__ import annotations

import json

import pytest

from commands import Command
from evaluated import evaluated_run, evaluation, reply
from selfsame.labels.label import Label
from selfsame.labels.store import LabelStore
from selfsame.types import Prompt


@pytest.fixture
def selfsame(capsys, tmp_path):
    return Command(capsys, tmp_path)


def asked(k):
    return Prompt(("I have two dogs.",), (f"Any pets, {k}?",))


@pytest.fixture
def labelled(tmp_path):
    """PPO is preferred in 6 of 8 questions, one of them is a tie; SFT is shown first in half of them."""
    store = LabelStore(tmp_path / "labels.sqlite")
    for k in range(8):
        choice = "tie" if k == 0 else "second" if k == 1 else "first"
        label = Label("ann", asked(k), ("good", "bad"), choice, ("one:ppo", "one:sft"))
        store.add(label.turned() if k % 2 else label)
    return store.path


def a_run(folder, **texts):
    """A run whose systems gave one reply to all of these prompts."""
    texts = texts or {"sft": "bad", "ppo": "good"}
    replies = {name: [reply(k, 1, text, dialogue=f"d{k}") for k in range(8)] for name, text in texts.items()}
    return evaluated_run(folder, {name: evaluation([1] * 8, replies=own) for name, own in replies.items()})


def compared(selfsame, tmp_path, *arguments):
    """What people prefer and what is noted, and the line of the command."""
    done = selfsame("compare", *arguments, "--json", tmp_path / "out.json")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out.json").read_text())
    return found["preferred"], found["notes"], done.out


def test_counts_and_rows(selfsame, labelled, tmp_path):
    done = selfsame("labels", labelled, "--out", tmp_path / "l.jsonl")
    assert done.code == 0
    assert "8 labels of 8 questions from one person" in done.out
    assert "ann: 8" in done.out
    assert "7 labelled" in done.out
    assert len([json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]) == 8


def test_people_are_a_row_of_compare(selfsame, labelled, tmp_path):
    run = a_run(tmp_path / "one")
    (row,), notes, out = compared(selfsame, tmp_path, f"{run}:sft", f"{run}:ppo", "--labels", labelled)
    assert (row["wins"], row["ties"], row["losses"], row["prompts"]) == (6, 1, 1, 8)
    assert row["value"] == pytest.approx(6.5 / 8)
    assert row["prompts"] == row["count"] and not [note for note in notes if "left out" in note]
    assert "preferred by people (labels from one person): 0.812" in out


def test_labels_of_other_prompts_and_replies_are_left_out(selfsame, labelled, tmp_path):
    """Labels to train on are of prompts that no evaluation holds; a run of the same name may have said something else."""
    store, by = LabelStore(labelled), ("one:ppo", "one:sft")
    for k in range(3):
        store.add(Label("ann", Prompt((f"I am {k}.",), ("Hi?",)), ("good", "bad"), "second", by))
    store.add(Label("ann", asked(5), ("good", "worse"), "second", by))
    run = a_run(tmp_path / "one")
    (row,), notes, out = compared(selfsame, tmp_path, f"{run}:sft", f"{run}:ppo", "--labels", labelled)
    assert (row["wins"], row["ties"], row["losses"], row["prompts"]) == (6, 1, 1, 8)
    (note,) = [note for note in notes if "left out" in note]
    assert note.startswith("Of 12 labels 4 were left out: 3 of prompts that were not evaluated")
    assert ", 1 of replies that the evaluations did not record for two of these systems" in note and note in out


def test_a_label_counts_for_each_system_that_gave_the_reply(selfsame, labelled, tmp_path):
    run = a_run(tmp_path / "one", sft="bad", ppo="good", dpo="good")
    systems = [f"{run}:{name}" for name in ("sft", "ppo", "dpo")]
    rows, *_ = compared(selfsame, tmp_path, *systems, "--labels", labelled)
    assert [(row["system"], row["prompts"]) for row in rows] == [("one:ppo", 8), ("one:dpo", 8)]


def test_what_both_recipes_replied_is_no_win(selfsame, labelled, tmp_path):
    """Of two seeds each, one said what the other recipe said: nobody knows whose reply was preferred."""
    runs = [a_run(tmp_path / f"r{k}", **dict.fromkeys(("sft", "ppo"), "good" if k else "bad")) for k in range(2)]
    groups = [f"{name}={runs[0]}:{name},{runs[1]}:{name}" for name in ("sft", "ppo")]
    done = selfsame("compare", "--group", groups[0], "--group", groups[1], "--labels", labelled)
    assert done.code == 2 and "no label is about sft (2 seeds) and another" in done.told


def test_labels_of_other_systems(selfsame, labelled, tmp_path):
    run = a_run(tmp_path / "one", sft="I fish.", ppo="I sing.")
    done = selfsame("compare", f"{run}:sft", f"{run}:ppo", "--labels", labelled)
    assert done.code == 2
    assert "8 of replies that the evaluations did not record" in done.told
    assert "they are about one:ppo, one:sft" in done.told
