"""Runs on the page: which are found, what is shown of them, and names that are no runs."""

from __future__ import annotations

import pytest
from paged import a_run

from selfsame.errors import ConfigError
from selfsame.labels.label import Label
from selfsame.page.runs import Runs
from selfsame.run.files import append_jsonl, read_json
from selfsame.types import Prompt


@pytest.fixture
def runs(tmp_path):
    a_run(tmp_path / "runs" / "mine")
    a_run(tmp_path / "runs" / "seeds" / "one")
    a_run(tmp_path / "elsewhere" / "other")
    a_run(tmp_path / "runs" / "too" / "deep" / "here")
    return Runs(tmp_path / "runs", [tmp_path / "elsewhere" / "other", tmp_path / "runs" / "mine"])


def test_runs_are_found_by_name(runs, tmp_path):
    assert {*runs.found()} == {"mine", "seeds/one", "other"}
    assert {*runs.systems()} == {f"{name}:{s}" for name in runs.found() for s in ("base", "sft")}
    assert runs.path("seeds/one") == tmp_path / "runs" / "seeds" / "one"
    assert Runs(tmp_path / "none").found() == {}
    for name in (None, "", "..", "../elsewhere/other", str(tmp_path / "runs" / "mine"), "too/deep/here"):
        with pytest.raises(ConfigError, match="no such run"):
            runs.path(name)
        assert runs.report(name) is None


def test_a_run_is_shown_with_its_curves_and_results(runs, tmp_path):
    stamp, curves = runs.stamp("mine"), runs.curves("mine")
    assert "<svg" in curves and "up to step 5" in curves and runs.stamp("mine") == stamp
    append_jsonl(tmp_path / "runs" / "mine" / "metrics.jsonl", {"stage": "ppo", "step": 7, "reward": 1.0})
    assert runs.stamp("mine") != stamp and "up to step 7" in runs.curves("mine")
    shown = runs.results("mine")
    assert "consistency" in shown and "50%" in shown and "/report/" not in shown
    (tmp_path / "runs" / "mine" / "report.html").write_text("all of it")
    assert runs.report("mine") == "all of it" and "/report/mine" in runs.results("mine")


def test_two_systems_are_held_against_each_other(runs, tmp_path):
    rows = [read_json(tmp_path / "runs" / "mine" / "eval" / f"{name}.json")["replies"][4] for name in ("base", "sft")]
    prompt, replies = Prompt(tuple(rows[0]["persona"]), tuple(rows[0]["history"])), (rows[0]["reply"], rows[1]["reply"])
    label = Label("ann", prompt, replies, "first", ("mine:base", "mine:sft"))
    other = Label("ann", prompt, ("A.", "B."), "first", ("mine:base", "mine:sft"))
    shown = runs.compared(["mine:sft", "mine:base"], [label])
    assert "On the prompts that both answered" in shown and "preferred by people" in shown
    assert "preferred by people" not in runs.compared(["mine:sft", "mine:base"], [other])
    for systems in (["mine:sft", ""], ["mine:sft", "mine:sft"], [None, None]):
        with pytest.raises(ConfigError, match="choose two systems"):
            runs.compared(systems)
    with pytest.raises(ConfigError, match="no such run"):
        runs.compared(["mine:sft", "../elsewhere/other:sft"])


def test_damage_is_named(runs, tmp_path):
    (tmp_path / "runs" / "mine" / "eval" / "sft.json").write_text("{")
    with open(tmp_path / "runs" / "mine" / "metrics.jsonl", "a") as file:
        file.write("{half")
    assert "is damaged" in runs.results("mine") and "1 damaged lines" in runs.curves("mine")
