"""Turns and replies as the pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selfsame.run.records import DialogueRecord, ShownReply, TalkRecord

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


def dialogue(found: DialogueRecord) -> dict[str, Any]:
    """A prompt with the replies of several systems, as `eval/sidebyside.py` chose it."""
    turns = turns_of(found.history)
    return {
        "persona": found.persona,
        "gold": found.gold,
        "differ": found.differ,
        "earlier": turns[:-_TURNS],
        "turns": turns[-_TURNS:],
        "replies": [_reply(name, reply) for name, reply in found.replies.items()],
    }


def own_talk(system: str, talk: TalkRecord) -> dict[str, Any]:
    """A dialogue of a system with itself."""
    people = {"persona": talk.persona, "partner": talk.partner_persona}
    return people | {"system": system, "turns": turns_of([*talk.turns, ""])}


def _reply(name: str, reply: ShownReply) -> dict[str, Any]:
    badges = [(text, kind) for score, value, text, kind in _SAID if reply.scores.get(score) == value]
    return {"system": name, "parts": reply.parts, "badges": badges, "at_odds": reply.at_odds}
