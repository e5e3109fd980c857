"""What the reward model's best of several replies is worth: counted by hand, and on a tiny run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import best_of
from commands import tiny_run
from selfsame.cli import main
from selfsame.data.generator import TestItem
from selfsame.data.keywords import TraitMatcher
from selfsame.run.directory import RunDirectory, read_json
from selfsame.types import Prompt

PROMPT = Prompt(("I have two dogs.", "I teach chemistry."), ("Hi!", "I teach chemistry.", "Any pets?"))
ITEM = TestItem(PROMPT, "Two dogs!", (0,), "d", ())
AGAIN, DOGS, MISSED = "I teach chemistry.", "Yes, dogs, I love them.", "No idea."


def test_the_best_of_the_first_n_is_counted():
    sampled = [(ITEM, [MISSED, AGAIN, DOGS, MISSED], [1.0, 4.0, 2.0, 3.0])]
    counted = {n: best_of._numbers(TraitMatcher(), sampled, sampled, n) for n in (1, 2, 3, 4)}
    shares = {n: (found["faultless"]["value"], found["possible"]["value"]) for n, found in counted.items()}
    assert shares == {
        1: (0, 0),
        2: (0, 0),
        3: (1, 1),
        4: (0, 1),
    }  # what was said before is passed over, whatever its reward
    assert [counted[n]["telling"] for n in (2, 3)] == [0, 1] and counted[3]["reply_words"] == 5


def test_the_table():
    rate = {"value": 0.5, "low": 0.25, "high": 0.75, "count": 40}
    row = {
        "system": "sft",
        "perplexity": 3.7,
        "n": 8,
        "faultless": rate,
        "possible": rate,
        "telling": 0.2,
        "distinct_2": 0.5,
    }
    lines = best_of.table({"rows": [row | {"reply_words": 9.0}], "temperature": 0.5}).splitlines()
    assert lines[2] == "| sft | 3.70 | 8 | 0.500 [0.250, 0.750] | 0.500 [0.250, 0.750] | 0.20 | 0.50 | 9.0 |"
    assert lines[-1].startswith("40 prompts that call for the persona, temperature 0.5")


def test_a_run_is_measured_and_its_table_printed(tiny_models, tmp_path, capsys):
    command = [*tiny_run("run", tiny_models(), tmp_path / "run"), "--run.stages", "sft", "reward", "ppo"]
    assert main([*command, "--data.validation-share", "0.5"]) == 0
    out = str(tmp_path / "out.json")
    best_of.main(["run", str(tmp_path / "run"), "--prompts", "4", "--samples", "2", "--json", out])
    rows = read_json(Path(out))["rows"]
    assert [(row["system"], row["n"]) for row in rows] == [("sft", 1), ("sft", 2), ("ppo", 1), ("ppo", 2)]
    assert rows[0]["perplexity"] == rows[1]["perplexity"] != rows[2]["perplexity"]  # of SFT, and of the policy
    assert all(row["faultless"]["value"] <= row["possible"]["value"] for row in rows)
    capsys.readouterr()
    best_of.main(["table", out])
    assert capsys.readouterr().out.count("| ppo |") == 2


def test_a_run_without_a_reward_model_is_refused(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {"seed": 0})
    with pytest.raises(SystemExit, match="has no finished sft"):
        best_of.main(["run", str(run.path), "--json", str(tmp_path / "out.json")])
