"""`selfsame.train`: one process or several, started from a program such as a notebook."""

from __future__ import annotations

import signal
import sys
import textwrap
import threading

import pytest

from commands import tiny_run
from selfsame import ConfigError, RunError, TimeUp, launch, train
from selfsame.config import read_config
from selfsame.run.checkpoint import finished
from selfsame.run.directory import read_jsonl


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


def test_who_fails_is_told_and_the_others_are_ended(monkeypatch):
    monkeypatch.setattr(launch, "_GRACE", 0.3)
    second_fails = """
        import os, sys, time
        print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"])
        sys.exit("selfsame: lost") if os.environ["RANK"] == "1" else time.sleep(60)
    """
    assert launch._together(program(second_fails), 2) == (1, "lost")
    assert launch._together(program("print('done')"), 3) == (0, "done")


def test_the_stop_button_reaches_every_process(tmp_path):
    waits = f"""
        import os, signal, sys, time
        from pathlib import Path
        def stop(*_):
            Path({str(tmp_path)!r}, "stopped-" + os.environ["RANK"]).touch()
            sys.exit(130)
        signal.signal(signal.SIGINT, stop)
        Path({str(tmp_path)!r}, "ready-" + os.environ["RANK"]).touch()
        time.sleep(60)
    """

    def press():
        while len(list(tmp_path.glob("ready-*"))) < 2:
            pass
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=press).start()
        assert launch._together(program(waits), 2) == (130, "")
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(list(tmp_path.glob("stopped-*"))) == 2
