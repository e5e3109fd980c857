"""Records of runs: read as what they are, written as they were."""

from __future__ import annotations

import json
import math

import pytest

from evaluated import evaluation, recorded
from selfsame.errors import RunError
from selfsame.report.cells import Cell, cell_of
from selfsame.run.compared import SystemCost, SystemRecord
from selfsame.run.comparisons import ComparisonRecord, read_comparisons
from selfsame.run.files import write_json
from selfsame.run.records import CostRecord, DataRecord, Dialogues, EstimateRecord, EvaluationRecord, read_record

DIFFERENCE = {"system": "sft", "than": "base", "metric": "consistency", "value": 0.25, "low": None, "high": None,
              "count": 8, "missing": 0, "p": None, "verdict": "unknown"}  # fmt: skip


def test_a_record_is_read_as_its_model(tmp_path):
    write_json(tmp_path / "sft.json", evaluation([1.0, None]))
    record = read_record(tmp_path / "sft.json", EvaluationRecord)
    assert record == recorded([1.0, None])
    assert record.metrics["consistency"].value == 1.0 and record.replies[1].scores["consistency"] is None
    assert record.judge and record.judge.name == "rules" and record.reader is None
    assert (record.confidence, record.best_of) == (0.95, 1)


def test_nan_is_unknown_once_it_was_written(tmp_path):
    fresh = EvaluationRecord(metrics={"f1": EstimateRecord(value=math.nan, low=math.nan, high=math.nan, count=0)})
    assert cell_of(fresh.metrics["f1"]) == Cell(None, count=0)
    write_json(tmp_path / "sft.json", fresh)
    read = read_record(tmp_path / "sft.json", EvaluationRecord)
    assert read.metrics["f1"].value is None and cell_of(read.metrics["f1"]) == Cell(None, count=0)


def test_a_comparison_is_written_with_what_was_found_and_no_more(tmp_path):
    path = tmp_path / "comparisons.json"
    assert read_comparisons(path) == []
    path.write_text(json.dumps([DIFFERENCE]))
    (record,) = read_comparisons(path)
    assert (record.on, record.p_corrected, record.runs) == ("same prompts", None, None)
    assert list(record.model_dump().items()) == list(DIFFERENCE.items())
    seeds = ComparisonRecord(metric="f1", value=0.5, runs=[2, 1]).between("a", "b")
    assert seeds.model_dump() == {"system": "a", "than": "b", "metric": "f1", "value": 0.5, "runs": [2, 1]}


def test_means_over_seeds_say_how_many_there_are():
    single = {"value": 0.5, "low": None, "high": None, "count": None, "missing": 0}
    assert EstimateRecord(value=0.5).model_dump() == single
    assert EstimateRecord(value=None, seeds=3).model_dump() == {"value": None, "seeds": 3}
    assert cell_of(EstimateRecord(value=0.5, low=0.25, high=0.75, seeds=3)).show(2) == "0.50 (0.25 to 0.75)"


def test_a_compared_system_is_written_without_its_replies():
    cost = SystemCost(seconds={}, total_seconds=0, peak_memory_bytes=None, peak_gpu_memory_bytes=None)
    talk = {"items": 2, "turns": 10, "metrics": {"drift": 0.5}}
    system = SystemRecord(runs=["a:sft"], evaluation=recorded([1.0], selfplay=talk), cost=cost).model_dump()
    assert list(system["evaluation"]) == ["settings", "judge", "items", "metrics", "references", "selfplay"]
    assert list(system["evaluation"]["selfplay"]) == ["items", "metrics", "references"]
    alone = SystemRecord(runs=["a:sft"], evaluation=recorded([1.0], judge=None), cost=cost).model_dump()
    assert list(alone["evaluation"]) == ["settings", "items", "metrics", "references"]


def test_what_is_unknown_of_earlier_versions_has_a_default(tmp_path):
    (tmp_path / "cost.json").write_text('{"seconds": {"sft": 1}}')
    cost = read_record(tmp_path / "cost.json", CostRecord)
    assert cost.seconds == {"sft": 1.0} and cost.total_seconds is None and cost.notes == []
    (tmp_path / "data.json").write_text('{"rejected": 3, "more": [1]}')
    data = read_record(tmp_path / "data.json", DataRecord)
    assert data.summary == "" and data.model_dump(exclude_unset=True) == {"rejected": 3, "more": [1]}


@pytest.mark.parametrize(
    ("content", "said"),
    [("{}", "all of it|list"), ('[{"persona": []}]', r"0\.history"), ("[", "Expecting value"), ("", "damaged")],
)
def test_a_damaged_file_is_one_line(tmp_path, content, said):
    path = tmp_path / "dialogues.json"
    path.write_text(content)
    with pytest.raises(RunError, match=said) as caught:
        read_record(path, Dialogues)
    assert str(caught.value).startswith(f"{path} is damaged (") and "\n" not in str(caught.value)
