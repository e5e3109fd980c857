"""How long a run still takes: only what was measured, and "at least" where something is not known."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from selfsame.run import logger, outlook
from selfsame.run.logger import Progress
from selfsame.run.outlook import Outlook, left_in_all, outlook_of_run


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_without_a_run_nothing_is_known():
    assert left_in_all(10.0) is None
    with outlook_of_run() as run:
        assert left_in_all(10.0) is None
        with run.during("sft"):
            assert left_in_all(10.0) is None  # nothing beyond what the bar says itself
            assert run.left(None) is None
    assert outlook._RUNS == []


def test_a_later_stage_that_was_never_measured_makes_it_at_least(clock):
    run = Outlook(clock)
    with run.during("sft", ["ppo", "evaluate"]):
        assert run.left(30.0) == (30.0, False)
        assert run.left(None) is None


def test_systems_that_follow_take_what_the_first_one_took(clock):
    run = Outlook(clock)
    with run.during("evaluate"):
        with run.during("a system", ["a system", "a system"]):
            assert run.left(20.0) == (20.0, False)
            clock.now = 100.0
        with run.during("a system", ["a system"]):
            clock.now = 130.0
            assert run.left(20.0) == (170.0, True)  # 70 of this one, 100 of the next
            assert run.left(90.0) == (190.0, True)  # its bar knows better
            clock.now = 210.0
        with run.during("a system"):
            clock.now = 215.0
            assert run.left(3.0) == (105.0, True)  # the last one took 110


def test_a_part_that_was_stopped_measures_nothing(clock):
    run = Outlook(clock)
    with pytest.raises(KeyboardInterrupt), run.during("a system"):
        clock.now = 5.0
        raise KeyboardInterrupt
    with run.during("a system", ["a system"]):
        assert run.left(20.0) == (20.0, False)


def test_progress_lines_say_it(clock, monkeypatch):
    run = Outlook(clock)
    monkeypatch.setattr(outlook, "_RUNS", [run])
    bar, part = Progress(10, "evaluate sft", clock=clock), Progress(10, "part", clock=clock, inner=True)
    with run.during("a system"):
        clock.now = 60.0
    for kinds, said in ((["a system"], "about 1:58 left in all"), (["another"], "at least 0:18 left in all")):
        bar.done = bar._began_at = part.done = 0
        bar._start = clock.now
        with run.during("a system", kinds):
            clock.now += 2.0
            bar.advance()
            assert f"0:18 left, {said}" in bar.line("loss 2.0") and bar.line("loss 2.0").endswith(", loss 2.0")
            part.advance()
            assert "in all" not in part.line()
    assert "in all" not in bar.line()


def test_a_bar_labels_its_times(clock, monkeypatch):
    run = Outlook(clock)
    monkeypatch.setattr(outlook, "_RUNS", [run])
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(logger, "_CONSOLE", Console(file=screen, force_terminal=True, width=140))
    with run.during("sft", ["ppo"]), Progress(4, "sft") as bar:
        assert bar._bar is not None
        task = bar._bar.tasks[0]
        monkeypatch.setattr(type(task), "elapsed", 11.0)
        monkeypatch.setattr(type(task), "time_remaining", 13.0)
        bar.advance(1, "loss 1.2")
        assert logger._Times().render(task).plain == "elapsed 0:11, left 0:13, at least 0:13 left in all"
        with Progress(3, "held-out", inner=True):
            inner = bar._bar.tasks[1]
            assert logger._Times().render(inner).plain == "elapsed 0:11, left 0:13"
    assert "elapsed 0:11" in screen.getvalue()
