"""Whether a reward model can be trusted: said as a table, kinds below chance named, a broken one refused."""

from __future__ import annotations

import pytest

from selfsame.errors import RunError
from selfsame.run.directory import RunDirectory
from selfsame.run.files import write_json
from selfsame.stage_inputs import accuracy_table, distrusted_kinds


def run_with(tmp_path, pairs, **metrics):
    run = RunDirectory.create(tmp_path / "run", {"seed": 0})
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    write_json(run.path / "reward.json", {"pairs": pairs, "metrics": named})
    return run


def test_kinds_below_chance_are_named_and_not_paid(tmp_path, capsys):
    run = run_with(
        tmp_path, 100, accuracy=0.7, accuracy__bland=1.0, accuracy__contradicted=0.34, accuracy__recited=None
    )
    assert distrusted_kinds(run) == ("contradicted",)
    assert "not paid out for contradicted" in capsys.readouterr().err


def test_a_reward_model_that_is_surely_below_chance_stops_ppo(tmp_path):
    with pytest.raises(RunError, match="would climb a broken reward"):
        distrusted_kinds(run_with(tmp_path, 200, accuracy=0.4))


def test_a_few_pairs_stop_nothing(tmp_path):
    assert distrusted_kinds(run_with(tmp_path, 12, accuracy=0.4)) == ()


def test_nothing_measured_is_nothing_said(tmp_path):
    assert distrusted_kinds(RunDirectory.create(tmp_path / "run", {"seed": 0})) == ()


def test_the_table_has_a_line_for_each_kind_and_marks_what_is_below_chance():
    lines = accuracy_table({"accuracy": 0.76, "accuracy/bland": 1.0, "accuracy/contradicted": 0.34}).split("\n")
    assert [line.split()[0] for line in lines[1:]] == ["all", "bland", "contradicted"]
    assert [line.endswith("below chance") for line in lines[1:]] == [False, False, True]
