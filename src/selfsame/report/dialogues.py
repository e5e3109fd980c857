"""Turns and replies as the pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Turn:
    """What was said, and whether the bot or its partner said it."""

    who: str
    text: str


@dataclass(frozen=True)
class SystemReply:
    """A system's reply in marked parts, with what its scores say (text, and good or bad) and what it is at odds with."""

    system: str
    parts: Sequence[Sequence[str]]
    badges: list[tuple[str, str]]
    at_odds: Sequence[str]


@dataclass(frozen=True)
class SideBySide:
    """A prompt with the replies of several systems; `earlier` turns are folded."""

    persona: Sequence[str]
    gold: str
    earlier: list[Turn]
    turns: list[Turn]
    replies: list[SystemReply]


@dataclass(frozen=True)
class OwnTalk:
    """A dialogue of a system with itself; `partner`: the persona of the other side."""

    system: str
    persona: Sequence[str]
    partner: Sequence[str]
    turns: list[Turn]


def turns_of(history: Sequence[str]) -> list[Turn]:
    """The history ends with the partner, so every second turn from the end is the partner's."""
    last = len(history) - 1
    return [Turn("bot" if (last - k) % 2 else "partner", text) for k, text in enumerate(history) if text]


def dialogue(found: DialogueRecord) -> SideBySide:
    """A prompt with the replies of several systems, as `comparing/side_by_side.py` chose it."""
    turns, replies = turns_of(found.history), [_reply(name, reply) for name, reply in found.replies.items()]
    return SideBySide(found.persona, found.gold, turns[:-_TURNS], turns[-_TURNS:], replies)


def own_talk(system: str, talk: TalkRecord) -> OwnTalk:
    """A dialogue of a system with itself, which ends with a turn of its own."""
    return OwnTalk(system, talk.persona, talk.partner_persona, turns_of([*talk.turns, ""]))


def _reply(name: str, reply: ShownReply) -> SystemReply:
    badges = [(text, kind) for score, value, text, kind in _SAID if reply.scores.get(score) == value]
    return SystemReply(name, reply.parts, badges, reply.at_odds)
