"""The same run with adapters and with full fine-tuning: equal work, not repeated, what was measured and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import savings
from commands import tiny_run
from selfsame.errors import ConfigError
from selfsame.run.files import read_json, write_json


def options(model: Path) -> list[str]:
    command, base, name, _, _, *small = tiny_run("run", model, Path())
    assert command == "run"
    return [base, name, *small]


@pytest.fixture(scope="module")
def measured(tiny_models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("savings")
    full = ["--full", "--training.sft.learning-rate", "1e-4"]
    assert savings.main(["run", str(folder), *options(tiny_models()), *full]) == 0
    return folder


def test_two_runs_of_equal_work_and_what_they_took(measured, capsys):
    record = read_json(measured / "savings.json")
    ours, theirs = record["runs"]
    assert (ours["name"], theirs["name"]) == ("lora", "full")
    assert ours["episodes"] == theirs["episodes"] == 8
    data = [read_json(measured / name / "data.json")["digest"] for name in ("lora", "full")]
    assert data[0] == data[1]
    rates = [run["learning_rates"] for run in (ours, theirs)]
    assert rates[0]["sft"] == 1e-3 and rates[1]["sft"] == 1e-4 and rates[0]["ppo"] == rates[1]["ppo"]
    assert ours["role_bytes"] < theirs["role_bytes"] < theirs["checkpoint_bytes"]
    assert not list(measured.glob("lora/checkpoints/*/*/*/model.safetensors"))
    assert len(list(measured.glob("full/checkpoints/*/*/*/model.safetensors"))) == 4
    for run in (ours, theirs):
        assert run["bill"] == read_json(measured / run["name"] / "cost.json") and run["starts"] == 1
        assert all(run["seconds"][stage] > 0 for stage in ("sft", "reward", "ppo"))
        assert run["metrics"]["grounding"]["count"] == 4
    (saved,) = record["savings"]
    took = [sum(run["seconds"].values()) for run in (ours, theirs)]
    assert saved["time_saved_percent"] == pytest.approx(100 * (1 - took[0] / took[1]))
    assert saved["role_bytes_saved_percent"] == pytest.approx(100 * (1 - ours["role_bytes"] / theirs["role_bytes"]))


def test_finished_runs_are_not_repeated_and_other_options_refused(measured, tiny_models, capsys):
    stamps = {path: path.stat().st_mtime_ns for path in measured.rglob("cost.json")}
    command = ["run", str(measured), *options(tiny_models()), "--full", "--training.sft.learning-rate"]
    assert savings.main([*command, "1e-4"]) == 0
    assert {path: path.stat().st_mtime_ns for path in measured.rglob("cost.json")} == stamps
    assert savings.main([*command, "1e-5"]) == 2
    assert "holds a run with other settings (training.sft.learning_rate" in capsys.readouterr().err


def test_the_table_goes_into_a_readme(measured, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results:savings -->\n<!-- /results:savings -->\nafter\n")
    assert savings.main(["table", str(measured / "savings.json"), "--readme", str(readme), "--marker", "savings"]) == 0
    text = readme.read_text()
    assert text.startswith("before") and text.endswith("after\n") and capsys.readouterr().out.strip() in text
    assert "| lora |" in text and "| full |" in text and "| **saved** |" in text and "GPUs of 16 GB (estimate)" in text
    assert all(name in text for name in ("grounding", "bits per byte", "engagement"))


def test_cost_is_given_where_it_has_a_price_and_only_there(measured):
    record = read_json(measured / "savings.json")
    for run, cost in zip(record["runs"], (1.0, 4.0), strict=True):
        run["bill"]["total_cost"] = None
        unpriced = savings.savings(record["runs"])
        assert unpriced[0]["cost_saved_percent"] is None
        assert "at any one price" in savings.table(record | {"savings": unpriced})
        run["bill"]["total_cost"] = cost
    for run, cost in zip(record["runs"], (1.0, 4.0), strict=True):
        run["bill"] |= {"total_cost": cost, "peak_gpu_memory_bytes": cost * 20e9}
    text = savings.table(record | {"savings": savings.savings(record["runs"])})
    assert "75% saved" in text and "peak memory of the GPU" in text and "at any one price" not in text
    assert "| 20,000 MB | 2 |" in text and "| 80,000 MB | 5 |" in text


def test_a_run_that_was_stopped_is_said_to_be(measured, tmp_path, capsys):
    record = read_json(measured / "savings.json")
    record["runs"][1]["starts"] = 2
    assert "took): full (2 starts)" in savings.table(record)
    shutil.copy(measured / "savings.json", tmp_path)
    write_json(tmp_path / "savings.json", {"starts": {"lora": 1}})
    assert savings.main(["table", str(tmp_path / "savings.json")]) == 2
    assert "not finished" in capsys.readouterr().err


def test_options_go_where_they_belong(tmp_path):
    shared = ["--preset", "demo", "--seeds", "2", "--model.lora.rank", "4", "--model.lora.targets", "q_proj", "v_proj"]
    runs = savings.plan(tmp_path, [*shared, "--pairs.count", "9", "--full", "--training.sft.learning-rate", "1e-5"])
    assert [(run.name, run.seed) for run in runs] == [("lora", 0), ("full", 0), ("lora-1", 1), ("full-1", 1)]
    for run in runs:
        text = " ".join(run.options)
        assert "--preset demo" in text and "--pairs.count 9" in text and f"--seed {run.seed}" in text
        assert ("--model.lora.targets q_proj v_proj" in text) == (run.kind == "lora") == ("1e-5" not in text)
        assert ("q_proj" in text) == (run.kind == "lora") and f"--model.tuning {run.kind}" in text


@pytest.mark.parametrize("wrong", [["--seed", "3"], ["--full", "--model.tuning", "lora"], ["--seeds", "none"]])
def test_wrong_options_are_one_line(tmp_path, wrong):
    with pytest.raises(ConfigError) as error:
        savings.plan(tmp_path, wrong)
    assert "\n" not in str(error.value)


def test_a_run_that_fails_ends_it(tmp_path):
    with pytest.raises(SystemExit) as error:
        savings.main(["run", str(tmp_path), "--model.base", str(tmp_path / "missing")])
    assert error.value.code == 2
    assert json.loads((tmp_path / "savings.json").read_text()) == {"starts": {"lora": 1}}
