"""Replies that were sampled as training went on, from `samples.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfsame.report.dialogues import Turn, turns_of
from selfsame.systems import STAGES, TRAINED

_SPEAKING = tuple(name for name in TRAINED if STAGES[name].speaks)
"""The stages that train who speaks."""
_MOST_REPLIES = 5
"""To a prompt, of a stage."""


@dataclass(frozen=True)
class Sampled:
    """A reply, when it was sampled, and its reward as a page writes it (empty where it has none)."""

    when: str
    text: str
    reward: str


@dataclass(frozen=True)
class Conversation:
    """A held-out prompt, and the replies to it."""

    persona: tuple[str, ...]
    turns: list[Turn]
    replies: list[Sampled]


def conversations(samples: Sequence[Mapping[str, Any]]) -> list[Conversation]:
    """The held-out prompts that were answered as training went on, each with the replies of those who speak, stage by stage:
    first, last and some between. Other samples (pairs with their rewards, those of earlier versions) are none of these."""
    prompts: dict[str, list[Mapping[str, Any]]] = {}
    for row in samples:
        if row.get("prompt") and row.get("stage") in _SPEAKING:
            prompts.setdefault(str(row["prompt"]), []).append(row)
    return [_conversation(rows) for rows in prompts.values()]


def _conversation(rows: Sequence[Mapping[str, Any]]) -> Conversation:
    return Conversation(
        persona=tuple(map(str, rows[0].get("persona") or ())),
        turns=turns_of([*map(str, rows[0].get("history") or ())]),
        replies=[shown for stage in _SPEAKING for shown in _spread([row for row in rows if row["stage"] == stage])],
    )


def _spread(replies: Sequence[Mapping[str, Any]]) -> list[Sampled]:
    """Of the replies of a stage the first, the last and some between."""
    ordered, most = sorted(replies, key=lambda row: row.get("step") or 0), _MOST_REPLIES
    if len(ordered) > most:
        ordered = [ordered[round(index * (len(ordered) - 1) / (most - 1))] for index in range(most)]
    return [
        Sampled(f"{row.get('stage')} · step {row.get('step')}", str(row.get("reply", "")), _reward(row.get("reward")))
        for row in ordered
    ]


def _reward(reward: Any) -> str:
    return f"reward {reward:.2f}" if isinstance(reward, (int, float)) else ""
