"""A folder that cannot be written, a disk that fills up, Ctrl-C: one clear line, nothing lost, and the same command goes on."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from commands import ROWS, Command, make, snapshot, tiny_run
from selfsame.cli import main
from selfsame.errors import TimeUp
from selfsame.eval import selfplay
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.files import read_jsonl
from selfsame.training.stopping import TimeLimit


@pytest.fixture
def selfsame(capsys: pytest.CaptureFixture[str], tiny_models: Any) -> Command:
    return Command(capsys, tiny_models())


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, tiny_models: Any) -> Path:
    """A run whose SFT is finished."""
    directory = tmp_path_factory.mktemp("runs") / "tuned"
    assert main(tiny_run("sft", tiny_models(), directory)) == 0
    return directory


# --- folders and disks


@pytest.mark.parametrize("where", ["file", "file/run", "/proc/none/run", "full"])
def test_a_folder_that_cannot_be_the_run(selfsame, tmp_path, where):
    make(tmp_path, "file", "mine")
    (tmp_path / "full").mkdir()
    make(tmp_path / "full", "thesis.txt", "mine")
    answer = selfsame.tiny("run", tmp_path / where)
    assert answer.code == 2
    assert "choose another --run.directory" in answer.told
    assert snapshot(tmp_path) == {"file": b"mine", "full/thesis.txt": b"mine"}


def test_a_folder_that_may_not_be_written(selfsame, tmp_path, monkeypatch):
    """Permissions do not bind root, so the system's answer is given here."""

    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    answer = selfsame.tiny("run", tmp_path / "run")
    assert answer.code == 2
    assert "Permission denied): choose a folder you may write to with --run.directory" in answer.told


def test_a_disk_that_is_full_at_the_second_checkpoint(selfsame, tmp_path, monkeypatch):
    """The first checkpoint stays, nothing half-written does, and with room again the run ends as if nothing had been."""
    saving, whole, run = ["--run.save-every", "1"], tmp_path / "whole", tmp_path / "run"
    assert selfsame.tiny("sft", whole, *saving).code == 0
    sync, full = os.fsync, []

    def refuse(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if "step-000002" in name:
            full.append(name)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", refuse)
    answer = selfsame.tiny("sft", run, *saving)
    assert full
    assert answer.code == 2
    assert "disk full while writing" in answer.told
    assert "free some space and run the same command again to resume" in answer.told
    assert [path.name for path in (run / "checkpoints" / "sft").iterdir()] == ["step-000001"]
    monkeypatch.undo()
    assert selfsame.tiny("sft", run, *saving).code == 0
    assert snapshot(run / "checkpoints") == snapshot(whole / "checkpoints")


def test_a_disk_that_is_full_for_the_metrics(selfsame, tuned, tmp_path, monkeypatch):
    run = Path(shutil.copytree(tuned, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")))

    def refuse(path: Any, mode: str = "r", **more: Any) -> Any:
        if Path(path).name == "metrics.jsonl" and "a" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return open(path, mode, **more)

    monkeypatch.setattr("selfsame.run.files.open", refuse, raising=False)
    answer = selfsame.tiny("sft", run)
    assert answer.code == 2
    assert f"disk full while writing {run / 'metrics.jsonl'}" in answer.told


def test_a_disk_that_is_full_for_a_converted_file(selfsame, tmp_path, monkeypatch):
    source, out = make(tmp_path, "a.jsonl", ROWS), make(tmp_path, "b.jsonl", "older\n")

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", refuse)
    answer = selfsame("data", "convert", "--data.path", source, "--out", out)
    assert answer.code == 2
    assert f"cannot write {out} (No space left on device)" in answer.told
    assert snapshot(tmp_path) == {"a.jsonl": ROWS, "b.jsonl": b"older\n"}


# --- Ctrl-C


def test_ctrl_c_saves_and_says_how_to_go_on(selfsame, tmp_path, monkeypatch):
    run = tmp_path / "my run"
    endless = [
        *tiny_run("sft", selfsame.model, run),
        "--training.sft.max-steps",
        "100000",
        "--run.save-every",
        "100000",
    ]
    endless += ["--training.sft.epochs", "100000", "--training.sft.eval-every", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "selfsame.cli", *endless], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        began = time.monotonic()
        while len(read_jsonl(run / "metrics.jsonl")[0]) < 2:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() - began < 120
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("selfsame: stopped; run the same command again to resume: selfsame sft ")
    assert f"--run.directory '{run}'" in err.splitlines()[-1]
    assert out == ""
    steps = len(read_jsonl(run / "metrics.jsonl")[0])
    saved = CheckpointManager(run / "checkpoints" / "sft").load()
    assert (saved.step, saved.state["done"]) == (steps, False)

    # The same command goes on: interrupted while it writes down a step, it ends the next one.
    from selfsame.run.logger import RunLogger

    log = RunLogger.log

    pressed: list[int] = []

    def log_and_interrupt(self: Any, *arguments: Any) -> None:
        log(self, *arguments)
        if not pressed:
            pressed.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunLogger, "log", log_and_interrupt)
    answer = selfsame(*endless)
    assert answer.code == 130
    assert CheckpointManager(run / "checkpoints" / "sft").load().step == steps + 2
    rows = [row["step"] for row in read_jsonl(run / "metrics.jsonl")[0]]
    assert rows == list(range(1, len(rows) + 1))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("where", "number"), [("measuring", signal.SIGTERM), ("writing", signal.SIGINT)])
def test_ctrl_c_in_the_middle_of_an_evaluation(selfsame, tuned, tmp_path, monkeypatch, where, number):
    """What is written is whole systems, and the same command evaluates the others, as if nothing had been."""
    whole, run = (Path(shutil.copytree(tuned, tmp_path / name)) for name in ("whole", "run"))
    assert selfsame.tiny("run", whole, "--run.stages", "evaluate").code == 0
    sync, measure, measured = os.fsync, selfplay.score_talks, []

    def measure_and_press(*arguments: Any) -> Any:
        measured.append(arguments)
        if where == "measuring" and len(measured) == 4:  # three are the base's
            os.kill(os.getpid(), number)
        return measure(*arguments)

    def sync_and_press(descriptor: int) -> None:
        if where == "writing" and ".sft.json" in os.readlink(f"/proc/self/fd/{descriptor}"):
            os.kill(os.getpid(), number)
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(selfplay, "score_talks", measure_and_press)
        patch.setattr("os.fsync", sync_and_press)
        answer = selfsame.tiny("run", run, "--run.stages", "evaluate")
    assert answer.code == 130
    assert answer.told.startswith("selfsame: stopped; run the same command again to resume: selfsame run ")
    expected = snapshot(whole / "eval")
    assert snapshot(run / "eval") == {"base.json": expected["base.json"]}
    written = (run / "eval" / "base.json").stat().st_mtime_ns
    assert selfsame.tiny("run", run, "--run.stages", "evaluate").code == 0
    assert snapshot(run / "eval") == expected and list(expected) == ["base.json", "sft.json"]
    assert (run / "eval" / "base.json").stat().st_mtime_ns == written
    assert (run / "comparisons.json").read_bytes() == (whole / "comparisons.json").read_bytes()


def test_a_run_whose_time_is_up_again_and_again_ends_as_if_nothing_had_been(selfsame, tmp_path, monkeypatch):
    """Over at the sixth look at the clock, each time: it stops in the middle of stages, between them, and between systems."""
    steps = ["--training.ppo.steps", "8", "--training.sft.max-steps", "8"]
    assert selfsame.tiny("run", tmp_path / "whole", *steps).code == 0
    said: list[str] = []
    for _ in range(30):
        looks = itertools.count(1)
        monkeypatch.setattr(TimeLimit, "late", lambda self, looks=looks: next(looks) > 5)
        answer = selfsame.tiny("run", tmp_path / "run", *steps, "--run.max-hours", 0.5)
        if answer.code == 0:
            break
        assert (answer.code, answer.out) == (75, "")
        said.append(answer.told.splitlines()[-1])
    assert answer.code == 0
    assert all("everything is saved; run the same command again to resume: selfsame run " in text for text in said)
    for where in ("sft, step 5 of 8", "ppo, step", "before the evaluation of sft"):
        assert any(where in text for text in said), (where, [text[:90] for text in said])
    whole, run = snapshot(tmp_path / "whole"), snapshot(tmp_path / "run")
    kept = [name for name in whole if name.endswith(".safetensors") or name.startswith("eval/")]
    assert len(kept) > 6 and all(run[name] == whole[name] for name in kept if "step-000002" not in name)
    rows = [
        [{k: v for k, v in row.items() if k != "time"} for row in read_jsonl(tmp_path / name / "metrics.jsonl")[0]]
        for name in ("whole", "run")
    ]
    assert rows[0] == rows[1]


def test_one_process_that_is_late_stops_all_of_them(monkeypatch):
    limit = TimeLimit(1.0)
    limit.check("here")  # it began less than an hour ago
    monkeypatch.setattr(
        "selfsame.training.stopping.parallel.sum_numbers", lambda numbers: {"late": numbers["late"] + 1}
    )
    with pytest.raises(TimeUp, match=r"1 hours of run.max_hours are over \(here\)"):
        limit.check("here")
    monkeypatch.undo()
    monkeypatch.setattr("selfsame.training.stopping.STARTED", time.monotonic() - 3601)
    assert limit.late() and not TimeLimit(1.1).late() and not TimeLimit().late()


def test_ctrl_c_in_chat_says_no_more_than_that(selfsame, tuned, monkeypatch):
    def press(_: str = "") -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", press)
    answer = selfsame("chat", "--model", tuned, "--persona", "I sing.")
    assert (answer.code, answer.told) == (130, "selfsame: stopped")
