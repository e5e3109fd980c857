"""Places in dialogues where a reply is given, and the test sets that are chosen among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from selfsame.types import Answer, Example


@dataclass(frozen=True, slots=True)
class TestSets:
    """People's answers to prompts that call for the persona, and to prompts from mid-dialogue; `asked`: the sizes wanted."""

    consistency: list[Answer]
    engagement: list[Answer]
    asked: tuple[int, int]

    def summary(self) -> str:
        """Plain text, one line."""
        found = (len(self.consistency), len(self.engagement))
        parts = zip(("consistency", "engagement"), found, self.asked, strict=True)
        return ", ".join(f"{name}: {count} of {asked} asked for" for name, count, asked in parts)


@dataclass(frozen=True, slots=True)
class Site:
    """Own turn `k` of an example: a place where a reply is given."""

    example: Example
    k: int
    traits: tuple[int, ...]

    @property
    def reply(self) -> str:
        return self.example.turns[2 * self.k + 1]

    @property
    def asked(self) -> str:
        """What the partner said last."""
        return self.example.turns[2 * self.k]


def answers_at(sites: Iterable[Site]) -> list[Answer]:
    """What people said there, as answers."""
    return [Answer(s.example.prompt(s.k), s.reply, s.reply, s.traits, s.example.id.rpartition("/")[0]) for s in sites]
