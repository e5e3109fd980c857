"""When a run stops before its end: Ctrl-C, SIGTERM, or its time is up."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from selfsame.errors import TimeUp
from selfsame.model import parallel

STARTED = float(os.environ.get("SELFSAME_STARTED") or time.monotonic())
"""When this program began to train, by the machine's clock; a process of a run counts from when the run was started."""


class TimeLimit:
    """The time that training may take, counted from `STARTED`: all runs of a notebook together.

    Args:
        hours: of wall-clock time; None: no limit.
    """

    def __init__(self, hours: float | None = None) -> None:
        self.hours = hours

    def late(self) -> bool:
        """Whether this process finds the time to be up."""
        return self.hours is not None and time.monotonic() - STARTED >= 3600 * self.hours

    def check(self, where: str) -> None:
        """Stops the run here if its time is up for any of the processes, all of which are to ask together.

        Raises:
            TimeUp: with `where` in the message.
        """
        if parallel.sum_numbers({"late": float(self.late())})["late"]:
            self.stop(where)

    def stop(self, where: str) -> NoReturn:
        """Raises TimeUp."""
        raise TimeUp(f"the {self.hours:g} hours of run.max_hours are over ({where}); everything is saved")


@contextmanager
def interruptible() -> Iterator[Any]:
    """A function that says whether Ctrl-C (or SIGTERM) was pressed; a second Ctrl-C ends the program at once."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return

    def note(number: int, frame: Any) -> None:
        del frame
        pressed.set()
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield pressed.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
