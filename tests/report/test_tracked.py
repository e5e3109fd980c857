"""A run of the stage `data`: records and what trackers get of it, and nothing trained."""

from __future__ import annotations

from commands import tiny_run
from selfsame import train
from selfsame.config import read_config
from selfsame.plan.summary import plan_lines
from selfsame.report.tracked import tracked


def test_the_stage_data_only_writes_records(tiny_models, tmp_path):
    command = [*tiny_run("sft", tiny_models(), tmp_path / "run")[1:], "--run.stages", "data", "--data.limit", "20"]
    config = read_config(command)[0]
    run = train(config)
    assert all(path.exists() for path in (run.data_path, run.environment_path, run.report_path))
    assert not (run.path / "checkpoints").exists() and not (run.path / "eval").exists()
    results, pictures = tracked(run)
    assert results["data/rejected"] == 0 and results["data/over the limit"] > 0 and not pictures
    assert "fits: at most 0" in plan_lines(config, "t4", 1, None)[0]
