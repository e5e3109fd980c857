"""What the records of a finished run hold, as far as others read them. Those of earlier versions lack some of it; a damaged
one is told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from selfsame.errors import RunError
from selfsame.run.directory import read_json


class EstimateRecord(BaseModel):
    """A value with its interval; None is unknown."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    missing: int = 0


Metrics = dict[
    str,
    Annotated[EstimateRecord, BeforeValidator(lambda found: found if isinstance(found, dict) else {"value": found})],
]


class ReplyRecord(BaseModel):
    """A reply to a held-out prompt, and its scores."""

    dialogue: str
    persona: list[str]
    history: list[str]
    gold: str = ""
    reply: str
    scores: dict[str, float | None]


class TalkRecord(BaseModel):
    """A dialogue of a system with itself."""

    persona: list[str]
    partner_persona: list[str]
    turns: list[str]


class SelfplayRecord(BaseModel):
    """What was measured on such dialogues."""

    items: int | None = None
    metrics: Metrics
    references: dict[str, Metrics] = {}
    samples: list[TalkRecord] = []


class JudgeRecord(BaseModel):
    """The judge of contradictions; what else is known of it tells one from another."""

    model_config = ConfigDict(extra="allow")
    name: str
    balanced_accuracy: dict[str, float] = {}


class EvaluationRecord(BaseModel):
    """`eval/<system>.json`."""

    items: int | None = None
    metrics: Metrics
    references: dict[str, Metrics] = {}
    settings: dict[str, Any] = {}
    judge: JudgeRecord | None = None
    replies: list[ReplyRecord] = []
    selfplay: SelfplayRecord | None = None


class CostRecord(BaseModel):
    """`cost.json`: seconds by stage, bytes."""

    seconds: dict[str, float | None] = {}
    peak_memory_bytes: float | None = None
    peak_gpu_memory_bytes: float | None = None


class RewardRecord(BaseModel):
    """`reward.json`: shares of held-out pairs that the reward model ranks rightly."""

    pairs: int
    metrics: dict[str, float | None]


Model = TypeVar("Model", bound=BaseModel)


def read_record(path: Path, model: type[Model]) -> dict[str, Any]:
    """One of these, as plain data. Raises RunError where it is missing or damaged."""
    content = read_json(path)
    try:
        return model.model_validate(content).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise RunError(f"{path} is damaged ({where}: {first['msg']}): delete it and run its stage again") from error
