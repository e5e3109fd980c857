"""Ctrl-C (or SIGTERM) in the middle of a training: noted, and obeyed where nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, obeyed between two passes of a loop."""


class Interruption:
    """Whether Ctrl-C was pressed, and whether the loop at hand is to end for it."""

    def __init__(self) -> None:
        self._event, self._obeyed = threading.Event(), False

    def press(self) -> None:
        """Notes it."""
        self._event.set()

    def pressed(self) -> bool:
        return self._event.is_set()

    @contextmanager
    def at_once(self, obeyed: bool = True) -> Iterator[None]:
        """Inside, `may_stop` obeys, if it is to: for work that changes nothing and can be done again."""
        before, self._obeyed = self._obeyed, obeyed
        try:
            yield
        finally:
            self._obeyed = before

    def check(self) -> None:
        if self._obeyed and self.pressed():
            raise Interrupted


_WATCHED: list[Interruption] = []


class _Here(threading.local):
    """What ends the work of the thread at hand."""

    given_up: threading.Event | None = None


_HERE = _Here()


def give_up_with(event: threading.Event) -> None:
    """This thread works for another: once the event is set, `may_stop` ends what it does."""
    _HERE.given_up = event


def may_stop() -> None:
    """What a long loop asks between two passes.

    Raises:
        Interrupted: Ctrl-C was pressed, inside of `Interruption.at_once`; or nobody waits for this thread's work any more.
    """
    if _HERE.given_up is not None and _HERE.given_up.is_set():
        raise Interrupted
    if _WATCHED:
        _WATCHED[-1].check()


@contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """Outside of trainings too, SIGTERM raises KeyboardInterrupt, so that the run says how to resume it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Notes Ctrl-C and SIGTERM; a second Ctrl-C ends the program at once."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def note(number: int, frame: Any) -> None:
        del frame
        interruption.press()
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    _WATCHED.append(interruption)
    try:
        yield interruption
    finally:
        _WATCHED.remove(interruption)
        for number, handler in before.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # what was ignored meanwhile stays so
                signal.signal(number, handler)
