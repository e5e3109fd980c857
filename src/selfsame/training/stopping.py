"""The time limit of a run (for Ctrl-C see `run/interruption.py`)."""

from __future__ import annotations

import os
import time
from typing import NoReturn

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
