"""`selfsame labels` and `selfsame compare --labels`."""

from __future__ import annotations

import json

import pytest

from commands import Command
from evaluated import evaluated_run, evaluation
from selfsame.labels.label import Label
from selfsame.labels.store import LabelStore
from selfsame.types import Prompt


@pytest.fixture
def selfsame(capsys, tmp_path):
    return Command(capsys, tmp_path)


@pytest.fixture
def labelled(tmp_path):
    """PPO is preferred in 6 of 8 questions, one of them is a tie; SFT is shown first in half of them."""
    store = LabelStore(tmp_path / "labels.sqlite")
    for k in range(8):
        choice = "tie" if k == 0 else "second" if k == 1 else "first"
        label = Label("ann", Prompt((f"I am {k}.",), ("Hi?",)), ("good", "bad"), choice, ("one:ppo", "one:sft"))
        store.add(label.turned() if k % 2 else label)
    return store.path


def test_counts_and_rows(selfsame, labelled, tmp_path):
    done = selfsame("labels", labelled, "--out", tmp_path / "l.jsonl")
    assert done.code == 0
    assert "8 labels of 8 questions from one person" in done.out
    assert "ann: 8" in done.out
    assert "7 labelled" in done.out
    assert len([json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]) == 8


def test_people_are_a_row_of_compare(selfsame, labelled, tmp_path):
    run = evaluated_run(tmp_path / "one", {"sft": evaluation([0, 1]), "ppo": evaluation([1, 1])})
    out = tmp_path / "out.json"
    done = selfsame("compare", f"{run}:sft", f"{run}:ppo", "--labels", labelled, "--json", out)
    assert done.code == 0, done.err
    (row,) = json.loads(out.read_text())["preferred"]
    assert (row["wins"], row["ties"], row["losses"], row["prompts"]) == (6, 1, 1, 8)
    assert row["value"] == pytest.approx(6.5 / 8)
    assert row["low"] < row["value"] < row["high"]
    assert "preferred by people (labels from one person): 0.812" in done.out


def test_labels_of_other_systems(selfsame, labelled, tmp_path):
    run = evaluated_run(tmp_path / "two", {"sft": evaluation([0, 1]), "ppo": evaluation([1, 1])})
    done = selfsame("compare", f"{run}:sft", f"{run}:ppo", "--labels", labelled)
    assert done.code == 2
    assert "the labels are about one:ppo, one:sft" in done.told
