"""`selfsame.train`: one process or several, started from a program such as a notebook."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from commands import tiny_run
from selfsame import ConfigError, RunError, TimeUp, launch, train
from selfsame.config import read_config
from selfsame.run.checkpoint import finished
from selfsame.run.files import read_jsonl


def tiny(tiny_models, directory, *more):
    return read_config([*tiny_run("sft", tiny_models(), directory)[1:], "--run.stages", "sft", *more])[0]


def losses(run):
    return [row["loss"] for row in read_jsonl(run.metrics_path)[0]]


@pytest.mark.slow
def test_two_processes_from_a_program_train_as_one_does(tiny_models, tmp_path, capsys):
    more = ("--training.sft.max-steps", "3", "--model.lora.dropout", "0")
    one = train(tiny(tiny_models, tmp_path / "one", *more))
    capsys.readouterr()
    two = train(tiny(tiny_models, tmp_path / "two", *more), processes=2)
    assert finished(one, "sft") and finished(two, "sft")
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    said = capsys.readouterr().out
    assert said.count("sft: 3/3") == 1  # the first process is heard, the other is not
    late = tiny(tiny_models, tmp_path / "late", "--run.max-hours", "1e-6", *more)
    with pytest.raises(TimeUp, match=r"run.max_hours are over \(before sft\); everything is saved$"):
        train(late, processes=2)


def test_a_users_error_in_a_process_is_one_line(tiny_models, tmp_path):
    config = tiny(tiny_models, tmp_path / "run").model_copy(
        update={"model": read_config(["--model.base", "no/such"])[0].model}
    )
    with pytest.raises(RunError, match="no/such"):
        train(config, processes=2)
    with pytest.raises(ConfigError, match="1 or more"):
        train(config, processes=0)


def program(text):
    return [sys.executable, "-c", textwrap.dedent(text)]


def test_who_fails_is_told_and_the_others_are_ended(monkeypatch, capsys):
    monkeypatch.setattr(launch, "_GRACE", 0.3)
    second_fails = """
        import os, sys, time
        print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"])
        if os.environ["RANK"] == "0":
            time.sleep(60)
        print("selfsame: lost", "and then a tracker's last words", sep="\\n")
        sys.exit(1)
    """
    assert launch.run_together(program(second_fails), 2) == (1, "lost")
    assert "rank 0 of 2" in capsys.readouterr().out
    assert launch.run_together(program("print('done')"), 3) == (0, "")


def test_a_process_that_was_killed_is_told_with_its_last_lines(capsys):
    dies = """
        import os, signal, sys
        sys.stdout.buffer.write(b"not text: \\xff\\n" + b"." * 200_000 + b"\\n")
        print("ppo: 3/10", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    code, told = launch.run_together(program(dies), 1)
    assert code == -9 and told.startswith("process 0 of the run ended with signal SIGKILL; it said last: not text: ")
    assert told.endswith("ppo: 3/10") and "ppo: 3/10" in capsys.readouterr().out


def test_who_was_killed_is_told_before_who_misses_it():
    began = [subprocess.Popen(program(text)) for text in ("exit(2)", "import os; os.kill(os.getpid(), 9)")]
    for process in began:
        process.wait()
    assert launch._first_to_fail(began) == 1
    assert launch.why_ended("process 1 of the run", -9, []) == "process 1 of the run ended with signal SIGKILL"


WAITS = """
    import os, signal, sys, time
    from pathlib import Path
    def stop(number, _):
        Path(FOLDER, f"stopped-{os.environ['RANK']}-{signal.Signals(number).name}").touch()
        sys.exit(130)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    Path(FOLDER, "ready-" + os.environ["RANK"]).touch()
    time.sleep(60)
"""


def wait_for(folder, pattern, count):
    began = time.monotonic()
    while len(list(folder.glob(pattern))) < count:
        assert time.monotonic() - began < 60, pattern
        time.sleep(0.05)


def test_the_stop_button_reaches_every_process(tmp_path):
    def press():
        wait_for(tmp_path, "ready-*", 2)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=press).start()
        assert launch.run_together(program(WAITS.replace("FOLDER", repr(str(tmp_path)))), 2) == (130, "")
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(list(tmp_path.glob("stopped-*-SIGINT"))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_processes_stop_when_who_started_them_is_ended(tmp_path):
    command = program(WAITS.replace("FOLDER", repr(str(tmp_path))))
    parent = f"from selfsame.launch import run_together; run_together({command!r}, 2)"
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(tmp_path, "ready-*", 2)
    process.terminate()
    process.wait(30)
    wait_for(tmp_path, "stopped-*-SIGTERM", 2)
