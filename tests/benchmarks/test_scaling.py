"""The scaling benchmark on a tiny model: measured, resumed, drawn, and held against the plan."""

from __future__ import annotations

import json

import pytest

from benchmarks import foresight, scaling

TINY = [
    "run",
    "--shape",
    "tiny",
    "--sizes",
    "tiny",
    "--batches",
    "2",
    "--widths",
    "32",
    "--samples",
    "2",
    "--steps",
    "2",
    "--new-tokens",
    "4",
    "--only",
    "batch/sft",
    "prompt",
    "processes/sft/2",
]


@pytest.mark.slow
def test_measured_once_then_drawn_and_checked(tmp_path, capsys, monkeypatch):
    out, png = tmp_path / "scaling.json", tmp_path / "new" / "scaling.png"
    scaling.main([*TINY, "--json", str(out)])
    record = json.loads(out.read_text())
    assert list(record["measurements"]) == ["batch/sft/2", "prompt tokens/generate/32", "processes/sft/2"]
    for made in record["measurements"].values():
        assert len(made["seconds"]) == 1, made
        assert scaling.rate(made) > 0
        assert made["peak_memory"] > 2**27
    assert record["measurements"]["prompt tokens/generate/32"]["prompts"] == [32] * 4
    table = capsys.readouterr().out
    assert "| batch/sft/2 |" in table
    assert "processes/sft/2" not in table  # a plan's memory is one process's, its speed that of a machine not shared

    def fail(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(scaling, "_measure", fail)
    scaling.main([*TINY, "--json", str(out)])
    assert json.loads(out.read_text()) == record
    with pytest.raises(SystemExit, match="other options"):
        scaling.main([*TINY, "--steps", "3", "--json", str(out)])
    scaling.main(["plot", str(out), "--png", str(png)])
    assert png.read_bytes().startswith(b"\x89PNG")
    scaling.main(["check", str(out)])
    for made in record["measurements"].values():
        if made["processes"] == 1:
            seconds, memory = foresight.predicted(made, record, tmp_path)
            assert seconds > 0
            assert 1 / 1.5 < memory / made["peak_memory"] < 1.5


def test_every_measurement_has_a_name_of_its_own(monkeypatch):
    monkeypatch.setattr("sys.argv", ["scaling"])
    seen = {}
    monkeypatch.setattr(scaling, "run", lambda options: seen.update(points=scaling.points(options)) or {})
    monkeypatch.setattr(scaling, "check_table", lambda record: "")
    scaling.main(["run", "--json", "none"])
    keys = [point.key for point in seen["points"]]
    assert len(keys) == len(set(keys)) > 20
    assert {
        point.amount.prompts * point.amount.samples for point in seen["points"] if point.axis.startswith("replies")
    } == {8}


def test_plans_of_shapes_on_hardware_that_is_not_here(monkeypatch):
    monkeypatch.setattr(foresight, "PLANNED", (("tiny", "kaggle-2xt4", "t4", 2),))
    text = foresight.plan_table()
    assert "| tiny | 2 x t4 | kaggle-2xt4 |" in text
    assert "| none |" in text
    assert "nothing of this was run on a GPU" in text
