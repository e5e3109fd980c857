"""The time that a run still takes: the rest of the running part, and each later part.

A later part takes as long as its like, measured in this process. What was not measured is left out and the text says so
("at least"); nothing is guessed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class _Part:
    kind: str
    later: tuple[str, ...]
    began: float


class Outlook:
    """The parts of a run that are under way, outermost first, and how long each kind of part took."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._took: dict[str, float] = {}
        self._parts: list[_Part] = []

    @contextmanager
    def during(self, kind: str, later: Sequence[str] = ()) -> Iterator[None]:
        """Measure a part of the run.

        Args:
            kind: parts of one kind are expected to take the same time.
            later: the kinds of the parts that follow it, within the part around it.
        """
        part = _Part(kind, tuple(later), self._clock())
        self._parts.append(part)
        try:
            yield
            self._took[kind] = self._clock() - part.began
        finally:
            self._parts.remove(part)

    def left(self, own: float | None) -> tuple[float, bool] | None:
        """(seconds left, whether that covers the whole run). `own`: what the running piece of work says of itself.

        None where no run is under way, or nothing is known beyond `own`.
        """
        if not self._parts:
            return None
        running, later = self._parts[-1], [kind for part in self._parts for kind in part.later]
        known = self._took.get(running.kind)
        rest = 0.0 if known is None else max(0.0, known - (self._clock() - running.began))
        seconds = max(own or 0.0, rest) + sum(self._took.get(kind, 0.0) for kind in later)
        whole = known is not None and all(kind in self._took for kind in later)
        return (seconds, whole) if seconds and (later or known is not None) else None


_RUNS: list[Outlook] = []


@contextmanager
def outlook_of_run() -> Iterator[Outlook]:
    """The outlook of the run that begins here: nothing is known of it yet."""
    outlook = Outlook()
    _RUNS.append(outlook)
    try:
        yield outlook
    finally:
        _RUNS.remove(outlook)


def left_in_all(own: float | None) -> tuple[float, bool] | None:
    """The same of the run that is under way in this process."""
    return _RUNS[-1].left(own) if _RUNS else None
