"""Turns and replies as the pages show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TURNS = 4
"""The last turns of a prompt; those before are folded."""
_SAID = (
    ("consistency", 1, "consistent", "good"),
    ("consistency", 0, "not consistent", "bad"),
    ("grounding", 1, "draws on a trait", "good"),
    ("grounding", 0, "draws on no trait", "bad"),
    ("contradiction", 1, "contradiction", "bad"),
    ("copying_unprompted", 1, "copies a trait unprompted", "bad"),
)
"""What a score says of a reply, and whether that is good."""


def turns_of(history: Sequence[str]) -> list[dict[str, str]]:
    """The history ends with the partner, so every second turn from the end is the partner's."""
    last = len(history) - 1
    return [
        {"who": "bot" if (last - index) % 2 else "partner", "text": text} for index, text in enumerate(history) if text
    ]


def dialogue(found: Mapping[str, Any]) -> dict[str, Any]:
    """A prompt with the replies of several systems, as `eval/sidebyside.py` chose it."""
    turns = turns_of(found["history"])
    replies = [
        {
            "system": name,
            "parts": reply["parts"],
            "badges": [(text, kind) for score, value, text, kind in _SAID if reply["scores"].get(score) == value],
            "at_odds": reply["at_odds"],
        }
        for name, reply in found["replies"].items()
    ]
    shown = {"earlier": turns[:-_TURNS], "turns": turns[-_TURNS:], "replies": replies}
    return shown | {name: found[name] for name in ("persona", "gold", "differ")}
