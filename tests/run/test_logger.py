"""Records, trackers that never stop a run, and progress without a terminal."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from selfsame.errors import RunError
from selfsame.run import logger
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_jsonl
from selfsame.run.logger import Progress, RunLogger, progress, say

CONFIG = {"seed": 0, "training": {"ppo": {"kl_coef": 0.05}}, "stages": ["sft"], "name": None}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "demo-1a2b", CONFIG)


class Tracker:
    """Stands for a tracker of accelerate; `broken` names the method that fails."""

    def __init__(self, broken: str = "") -> None:
        self.broken, self.calls = broken, []

    def __getattr__(self, name: str):
        def call(*args: object, **options: object) -> None:
            self.calls.append((name, args, options))
            if name == self.broken:
                raise RuntimeError(f"{name} failed\nand a second line")

        return call


def test_records_are_lines_with_stage_step_time(run: RunDirectory) -> None:
    log = RunLogger(run)
    log.log("sft", 0, {"loss": torch.tensor(0.5), "tokens": 12, "note": "warm"})
    log.log("sft", 1, {"loss": math.nan, "kl": math.inf, "entropy": 1 / 3})
    first, second = (json.loads(line) for line in run.metrics_path.read_text().splitlines())
    assert abs(first.pop("time") - time.time()) < 60
    assert first == {"stage": "sft", "step": 0, "loss": 0.5, "tokens": 12, "note": "warm"}
    assert second["loss"] is None and second["kl"] is None and second["not_finite"] == ["loss", "kl"]
    assert second["entropy"] == 1 / 3
    with pytest.raises(ValueError, match="step"):
        log.log("sft", 2, {"step": 3})


def test_other_ranks_write_nothing(run: RunDirectory) -> None:
    log = RunLogger(run, ["wandb"], CONFIG, enabled=False)
    log.log("sft", 0, {"loss": 1.0})
    log.sample("sft", 0, [{"reply": "x"}])
    assert log.truncate("sft", 0) == 0
    log.close()
    assert {entry.name for entry in run.path.iterdir()} == {".lock", "config.yaml"}


def test_truncate_drops_later_records_of_the_stage_and_half_lines(run: RunDirectory) -> None:
    log = RunLogger(run)
    for stage, last in (("sft", 6), ("ppo", 4)):
        for step in range(last):
            log.log(stage, step, {"loss": float(step)})
    log.sample("ppo", 1, [{"reply": "early"}])
    log.sample("ppo", 3, [{"reply": "late"}, {"reply": "late"}])
    with run.metrics_path.open("a") as file:
        file.write('{"stage": "ppo", "step": 4, "lo')
    untouched = run.metrics_path.read_bytes().splitlines()[:9]
    assert log.truncate("ppo", 2) == 1 + 1 + 2
    assert run.metrics_path.read_bytes().splitlines() == untouched  # not one byte of the others changed
    assert run.metrics_path.read_bytes().endswith(b"\n")
    assert [row["reply"] for row in read_jsonl(run.samples_path)[0]] == ["early"]
    log.log("ppo", 3, {"loss": 9.0})
    records, damaged = read_jsonl(run.metrics_path)
    assert damaged == 0 and records[-1]["step"] == 3
    assert log.truncate("ppo", 3) == 0


def test_truncate_is_atomic(run: RunDirectory, monkeypatch) -> None:
    log = RunLogger(run)
    log.log("sft", 0, {"loss": 1.0})
    log.log("sft", 1, {"loss": 1.0})
    before = run.metrics_path.read_bytes()

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RunError, match="disk full"):
        log.truncate("sft", 0)
    assert run.metrics_path.read_bytes() == before


def test_trackers_get_named_metrics_and_a_flat_config(run: RunDirectory, monkeypatch) -> None:
    tracker = Tracker()
    monkeypatch.setattr(logger, "make_tracker", lambda *_: tracker)
    with RunLogger(run, ["tensorboard"], CONFIG) as log:
        log.log("ppo", 3, {"kl": 0.1, "loss": math.nan})
    assert [call[0] for call in tracker.calls] == ["start", "store_init_configuration", "log", "finish"]
    assert tracker.calls[1][1] == ({"seed": 0, "training.ppo.kl_coef": 0.05, "stages": "['sft']", "name": "None"},)
    assert tracker.calls[2] == ("log", ({"ppo/kl": 0.1},), {"step": 3})


@pytest.mark.parametrize("broken", ["start", "store_init_configuration", "log", "finish"])
def test_a_failing_tracker_is_one_line_and_the_run_goes_on(run: RunDirectory, monkeypatch, capsys, broken: str) -> None:
    monkeypatch.setattr(logger, "make_tracker", lambda *_: Tracker(broken))
    with RunLogger(run, ["tensorboard"], CONFIG) as log:
        for step in range(3):
            log.log("sft", step, {"loss": 1.0})
    assert len(read_jsonl(run.metrics_path)[0]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "tracker tensorboard is switched off" in lines[0] and f"{broken} failed" in lines[0]


def test_a_missing_package_is_one_line(run: RunDirectory, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with RunLogger(run, ["wandb"], CONFIG) as log:
        log.log("sft", 0, {"loss": 1.0})
    assert "tracker wandb is switched off" in capsys.readouterr().err
    assert len(read_jsonl(run.metrics_path)[0]) == 1


TRACK = """
import io, sys
from PIL import Image
from selfsame.run.directory import RunDirectory
from selfsame.run.logger import RunLogger
with RunLogger(RunDirectory(sys.argv[2]), [sys.argv[1]], {"seed": 0, "training": {"ppo": {"kl_coef": 0.05}}}) as log:
    for stage in ("sft", "ppo"):
        for step in range(3):
            log.log(stage, step, {"loss": 1.0 + step})
    log.sample("ppo", 2, [{"persona": ["I sing.", "I|knit."], "history": ["Hi!"] * 3, "reply": "La la.", "reward": 0.5}])
    picture = io.BytesIO()
    Image.new("RGB", (4, 3)).save(picture, "png")
    log.send_rest(lambda: ({"evaluate/ppo/consistency": 0.8}, {"ppo": picture.getvalue()}))
"""


def track(name: str, run: RunDirectory, home: Path) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "TRACKIO_"))}
    environment = clean | {"HOME": str(home), "NETRC": str(home / "none")}
    return subprocess.run([sys.executable, "-c", TRACK, name, str(run.path)], env=environment, timeout=90,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)  # fmt: skip


def test_wandb_without_a_key_is_offline_silent_and_in_the_run_directory(run: RunDirectory, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    done = track("wandb", run, tmp_path / "home")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (offline,) = (run.path / "wandb").glob("offline-run-*")
    (content,) = offline.glob("run-*.wandb")
    # Both stages count from 0; W&B would have dropped the second one's steps on a common axis.
    assert content.read_bytes().count(b"ppo/loss") >= 3 and b"ppo/step" in content.read_bytes()
    assert b"evaluate/ppo/consistency" in content.read_bytes()
    (table,) = offline.glob("files/media/table/samples*.json")
    assert "La la." in table.read_text() and any(offline.glob("files/media/images/plots/*.png"))


@pytest.mark.parametrize(("name", "files"), [("tensorboard", "tensorboard/**/*tfevents*"), ("trackio", "trackio/*.db")])
def test_other_trackers_write_into_the_run_directory(run: RunDirectory, tmp_path: Path, name: str, files: str) -> None:
    pytest.importorskip(name)
    done = track(name, run, tmp_path / "home")
    assert done.returncode == 0 and "switched off" not in done.stderr, done.stderr
    assert len(done.stdout.splitlines()) <= 1  # trackio says one line when the process ends
    written = b"".join(path.read_bytes() for path in run.path.glob(files))
    assert b"evaluate/ppo/consistency" in written
    if name == "tensorboard":
        assert b"| ppo | 2 | I sing. / I\\|knit. | Hi! / Hi! / Hi! | La la. | 0.5 |" in written and b"PNG" in written


def test_several_processes_without_an_accelerator_do_not_hang(run: RunDirectory, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = track("tensorboard", run, tmp_path)
    assert done.returncode == 0 and "make it before the RunLogger" in done.stderr


def ticking(step: float):
    now = [0.0]

    def clock() -> float:
        now[0] += step
        return now[0]

    return clock


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys) -> None:
    with Progress(200, "ppo", clock=ticking(0.5)) as bar:  # a second passes per unit: two looks at the clock
        for _ in range(40):
            bar.advance(note="reward 0.31")
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 12
    assert lines[0].startswith("ppo: ") and "/200" in lines[0] and "left" in lines[0] and "reward 0.31" in lines[0]
    assert lines[-1].startswith("ppo: 40/200 (20%)")


def test_time_left_is_of_this_part_of_a_resumed_stage() -> None:
    now = [0.0]
    bar = Progress(100, "sft", done=90, clock=lambda: now[0])
    now[0] = 10.0
    bar.advance(5)
    assert bar.line("loss 2.31") == "sft: 95/100 (95%), 2.0 s each, 0:10 left, loss 2.31"
    bar.advance(5)
    assert bar.line() == "sft: 100/100 (100%), 1.0/s, took 0:10"
    assert Progress(None, "read", clock=lambda: 0.0).line() == "read: 0"
    assert Progress(0, "none", clock=lambda: 0.0).line() == "none: 0/0, took 0:00"


def test_progress_over_items(capsys) -> None:
    assert list(progress([1, 2, 3], "count")) == [1, 2, 3]
    assert "count: 3/3" in capsys.readouterr().err
    assert list(progress((x for x in (1, 2)), "quiet", enabled=False)) == [1, 2]
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_is_a_bar(monkeypatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(logger, "_CONSOLE", Console(file=screen, force_terminal=True, width=100))
    with Progress(4, "ppo [bold]") as bar:
        bar.advance(3, note="loss 1.2")
        say("a line above [the] bar")
    shown = screen.getvalue()
    assert "3/4" in shown and "loss 1.2" in shown and "ppo [bold]" in shown and "a line above [the] bar" in shown


def test_a_part_of_the_work_has_a_bar_while_it_lasts(monkeypatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(logger, "_CONSOLE", Console(file=screen, force_terminal=True, width=100))
    with Progress(4, "sft") as bar:
        assert bar._bar is not None
        for _ in range(2):
            with Progress(3, "held-out", inner=True) as part:
                part.advance(2)
                assert [task.description for task in bar._bar.tasks] == ["sft", "held-out"]
            part.close()
            assert [task.description for task in bar._bar.tasks] == ["sft"]
        bar.advance(1)
    assert "held-out" in screen.getvalue() and "1/4" in screen.getvalue()
    with Progress(3, "alone", inner=True) as part:
        part.advance(2)
    assert "alone" in screen.getvalue() and logger._RUNNING == []


def test_a_short_part_of_the_work_says_nothing_without_a_terminal(capsys) -> None:
    with Progress(3, "short", clock=ticking(0.5), inner=True) as bar:
        bar.advance(3)
    assert capsys.readouterr().err == ""
    with Progress(30, "long", clock=ticking(0.5), inner=True) as bar:
        for _ in range(30):
            bar.advance()
    assert capsys.readouterr().err.splitlines()[-1].startswith("long: 30/30")


def test_say_prints_text_as_it_is(capsys) -> None:
    say("[red]x[/red] " + "word " * 60)
    say("nothing", enabled=False)
    assert capsys.readouterr().err == "[red]x[/red] " + "word " * 60 + "\n"


def test_progress_in_a_notebook_is_one_line_that_changes(monkeypatch, capsys) -> None:
    class Cell:
        def __init__(self) -> None:
            self.shown: list[tuple[str, str]] = []

        def display(self, data, raw):
            self.shown.append(("display", data["text/plain"]))

        def update(self, data, raw):
            self.shown.append(("update", data["text/plain"]))

    cell = Cell()
    monkeypatch.setattr(logger, "_cell", lambda: cell)
    with Progress(20, "ppo", clock=ticking(3.0)) as bar:
        for _ in range(20):
            bar.advance(note="reward 0.31")
    assert [how for how, _ in cell.shown][:2] == ["display", "update"] and "display" not in [
        how for how, _ in cell.shown[1:]
    ]
    assert cell.shown[-1][1].startswith("ppo: 20/20") and capsys.readouterr().err == ""


def test_what_cannot_be_found_for_trackers_ends_no_run(run: RunDirectory, monkeypatch, capsys) -> None:
    def find():
        raise KeyError("value")

    RunLogger(run, [], CONFIG).send_rest(find)  # nobody asks
    with RunLogger(run, [], CONFIG) as log:
        log._trackers["tensorboard"] = object()
        log.send_rest(find)
    assert "tracker tensorboard is switched off" in capsys.readouterr().err
