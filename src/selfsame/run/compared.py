"""What `selfsame compare` found of systems of any runs, as its `--json` writes it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, field_serializer

from selfsame.run.comparisons import ComparisonRecord, PairRecord
from selfsame.run.records import DialogueRecord, EvaluationRecord, RewardRecord, TalkRecord

_POOLED = ("settings", "judge", "items", "metrics", "references", "selfplay")
"""What of an evaluation may be of several seeds."""


class SystemCost(BaseModel):
    """Seconds of the stages that a system needs, peak memory of its whole run; None is unknown."""

    seconds: dict[str, float | None]
    total_seconds: int | float | None  # 0 for what was not trained, as a sum of nothing is written
    peak_memory_bytes: float | None
    peak_gpu_memory_bytes: float | None


class SystemRecord(BaseModel):
    """A compared system: its runs (one for each seed), its evaluation without replies, its cost."""

    runs: list[str]
    evaluation: EvaluationRecord
    cost: SystemCost

    @field_serializer("evaluation")
    def _pooled(self, evaluation: EvaluationRecord) -> dict[str, Any]:
        kept: dict[str, Any] = dict.fromkeys(_POOLED, True) | {"selfplay": {"items", "metrics", "references"}}
        dumped = evaluation.model_dump(include=kept)
        return {name: dumped[name] for name in _POOLED if dumped[name] is not None}


class SharedPrompts(PairRecord):
    """How many prompts two systems share, of how many, and score -> why it is not compared."""

    prompts: int
    most: int
    left_out: dict[str, str]


class Wins(PairRecord):
    """Prompts on which a system is more, as much and less consistent than another; `missing`: not scored."""

    wins: int
    ties: int
    losses: int
    missing: int


class Preferred(PairRecord):
    """How often the replies of a system are preferred to those of another: see `prefer` in `comparing/preference.py`."""

    judge: str
    prompts: int
    wins: int
    ties: int
    losses: int
    value: float | None
    low: float | None
    high: float | None
    count: int
    missing: int
    swayed: float | None
    p: float | None


class Compared(BaseModel):
    """All that `compare` in `comparing/runs.py` collects.

    Attributes:
        systems: by their names in tables; the others are compared with the first.
        paired: how far the others share its prompts.
        comparisons: paired differences.
        preference: who is more consistent, prompt by prompt.
        preferred: whose replies judges prefer.
        reward: the reward models behind the systems.
        settings: those that are not the same, by dotted key, then by system.
        dialogues: replies side by side.
        selfplay: a dialogue of each system with itself.
        notes: what to know when reading it.
    """

    systems: dict[str, SystemRecord]
    paired: list[SharedPrompts]
    comparisons: list[ComparisonRecord]
    preference: list[Wins]
    preferred: list[Preferred]
    reward: dict[str, RewardRecord]
    settings: dict[str, dict[str, Any]]
    dialogues: list[DialogueRecord]
    selfplay: dict[str, list[TalkRecord]]
    notes: list[str] = []

    @property
    def evaluations(self) -> dict[str, EvaluationRecord]:
        """Those of the systems, by name."""
        return {name: system.evaluation for name, system in self.systems.items()}
