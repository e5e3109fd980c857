"""The harness of `make chaos`: three runs that are killed, and that it notices what ends wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from benchmarks.chaos.__main__ import table
from benchmarks.chaos.recipe import Ended
from benchmarks.chaos.verdict import difference, half_written, results

from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.directory import RunDirectory
from selfsame.run.files import append_jsonl, read_json, write_json

KIND = "kill -9 before any write, four times"


@pytest.mark.slow
def test_three_runs_that_are_killed_again_and_again_end_the_same(tmp_path):
    record, command = (
        tmp_path / "chaos.json",
        [sys.executable, "-m", "benchmarks.chaos", "--stages", "sft", "--only", KIND],
    )
    several = os.environ | {"OMP_NUM_THREADS": "2"}  # with which a fork of a process that has computed would hang
    found = subprocess.run(
        [*command, "--trials", "3", "--json", str(record)], capture_output=True, text=True, env=several, timeout=900
    )
    assert found.returncode == 0, found.stderr[-2000:]
    trials = read_json(record)["trials"]
    assert [trial["outcome"] for trial in trials.values()] == ["same"] * 3
    assert all("write" in trial["at"] for trial in trials.values())
    assert f"| {KIND} | 3 | 3 | 0 | 0 | 0 |" in found.stdout


@pytest.fixture
def run(tmp_path):
    """A run as if it had finished SFT."""
    made = RunDirectory.create(tmp_path / "run", {"seed": 0})
    for step in (1, 2):
        CheckpointManager(made.checkpoints("sft")).save(step, {"w": {"w": torch.ones(step)}}, {"done": step == 2})
        append_jsonl(made.metrics_path, {"stage": "sft", "step": step, "loss": 1.0, "time": step})
    write_json(made.eval_path("sft"), {"metrics": {"a": 1}}, sealed=True)
    made.report_path.write_text("<html></html>\n")
    return made.path


@pytest.mark.parametrize(
    ("name", "content"),
    [("eval/sft.json", b'{"a": '), ("report.html", b"<html>"), ("metrics.jsonl", b'{"step"\n{"step": 2}\n')],
)
def test_half_a_file_is_noticed(run, name, content):
    assert half_written(run) == ""
    (run / name).write_bytes(content)
    assert half_written(run) == name


def test_half_a_checkpoint_is_noticed_and_half_a_line_at_the_end_is_none(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "sft", "st')
    assert half_written(run) == ""
    (run / "checkpoints/sft/step-000001/state.json").unlink()
    assert half_written(run) == "checkpoints/sft/step-000001"


@pytest.mark.parametrize("harm", ["weights", "evaluation", "lost step", "left behind", "older checkpoint", "times"])
def test_another_result_is_noticed(run, tmp_path, harm):
    expected, copy = results(run), RunDirectory(shutil.copytree(run, tmp_path / "copy"))
    assert difference(expected, copy.path) == ""
    sft = copy.checkpoints("sft")
    if harm == "weights":
        CheckpointManager(sft).save(2, {"w": {"w": torch.zeros(2)}}, {"done": True})
    elif harm == "evaluation":
        write_json(copy.eval_path("sft"), {"metrics": {"a": 2}}, sealed=True)
    elif harm == "left behind":
        (sft / ".tmp-step-000003-1").mkdir()
    elif harm == "older checkpoint":
        shutil.rmtree(sft / "step-000001")
    else:
        rows = ['{"stage": "sft", "step": 1, "loss": 1.0, "time": 5}\n', '{"stage": "sft", "step": 2, "loss": 1.0}\n']
        copy.metrics_path.write_text("".join(rows[: 1 if harm == "lost step" else 2]))
    said = {"weights": "sft/complete.json, sft/w.safetensors", "evaluation": "sft.json", "lost step": "metrics.jsonl"}
    assert difference(expected, copy.path) == said.get(harm, "left behind" if harm == "left behind" else "")


@pytest.mark.parametrize(
    ("code", "said", "clear"),
    [
        (2, "sft: 1/2\nselfsame: disk full\n", True),
        (0, "selfsame: disk full\n", False),
        (2, "selfsame: disk full\nand more\n", False),
        (2, "Traceback (most recent call last)\nselfsame: disk full\n", False),
        (-signal.SIGTERM, "sft: 1/2\n", False),
    ],
)
def test_what_is_one_clear_line(code, said, clear):
    assert Ended(code, said).is_clear() is clear


def test_the_table_counts_what_ended_wrong():
    trials = {
        "full disk/0": {"outcome": "one line, then same"},
        "full disk/1": {"outcome": "wrong"},
        "damaged file/finished/data.json/cut": {"outcome": "same"},
    }
    lines = table({"trials": trials, "skipped": {"SIGTERM": "no such thing here"}}).splitlines()
    assert lines[2:] == [
        "| full disk | 2 | 0 | 1 | 0 | 1 |",
        "| cut file, run finished | 1 | 1 | 0 | 0 | 0 |",
        "| all | 3 | 1 | 1 | 0 | 1 |",
        "| SIGTERM | skipped: no such thing here | | | | |",
    ]
