"""When a run stops before its end: Ctrl-C, SIGTERM, or its time is up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from selfsame.errors import TimeUp
from selfsame.model import parallel


class TimeLimit:
    """The time that a run may take, from when this was made.

    Args:
        hours: of wall-clock time; None: no limit.
    """

    def __init__(self, hours: float | None = None) -> None:
        self.hours, self._start = hours, time.monotonic()

    def reached(self) -> bool:
        """Whether the time is up, for any of the processes: all of them are to ask together."""
        if self.hours is None:
            return False
        late = time.monotonic() - self._start >= 3600 * self.hours
        return parallel.sum_numbers({"late": float(late)})["late"] > 0

    def check(self, where: str) -> None:
        """Stops the run here if its time is up.

        Raises:
            TimeUp: with `where` in the message.
        """
        if self.reached():
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
