"""The text of a reply that grows: what of it is sure, and where a stop string ends it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

_BACKSLASHES = 16
"""Backslashes of an escaped control string that are looked for in a text that grows."""


class ReplyText:
    """The text of a reply, token by token.

    Args:
        decode: token ids -> text.
        controls: strings that stand escaped in the model's tokens; half of an escaped one is not shown.
        stops: strings that end the reply; it is shown up to the first of them.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], controls: Sequence[str] = (), stops: Sequence[str] = ()
    ) -> None:
        self.decode, self.controls, self.stops = decode, tuple(controls), tuple(stops)
        self.text, self.stopped = "", False

    def grow(self, ids: list[int], last: bool = False) -> str:
        """The text that these tokens, all of the reply so far, add to what is shown. What may be the beginning of a stop
        string, of an escaped control string or of a letter of several tokens waits; nothing does after the `last` token."""
        text = self.decode(ids)
        found = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, last, text = True, True, text[: min(found)]
        if not last:
            text = text.rstrip("\ufffd")
            text = text[
                : min(_half_control(self.controls, text), *(_half_stop(stop, text) for stop in self.stops), len(text))
            ]
        if not text.startswith(self.text):
            return ""
        more, self.text = text[len(self.text) :], text
        return more


def _half_stop(stop: str, text: str) -> int:
    """Where a stop string begins that the text ends within; the text's length where there is none."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return len(text) - next((size for size in sizes if text.endswith(stop[:size])), 0)


def _half_control(controls: tuple[str, ...], text: str) -> int:
    """The same for an escaped control string."""
    reach = max(map(len, controls), default=0) + _BACKSLASHES
    half = _escaped_beginnings(controls).search(text, max(0, len(text) - reach))
    return half.start() if half else len(text)


@lru_cache(maxsize=64)
def _escaped_beginnings(controls: tuple[str, ...]) -> re.Pattern[str]:
    patterns = []
    for control in controls:
        pattern = ""
        for part in reversed([r"\\+", *map(re.escape, control[1:-1])]):
            pattern = f"(?:{part}{pattern})?"
        patterns.append(re.escape(control[0]) + pattern)
    return re.compile(rf"(?:{'|'.join(patterns) or '(?!)'})\Z")
