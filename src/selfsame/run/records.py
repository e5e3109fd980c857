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


def _measured(found: Any) -> Any:
    """Records of early versions hold the value alone."""
    return found if isinstance(found, (dict, EstimateRecord)) else {"value": found}


Metrics = dict[str, Annotated[EstimateRecord, BeforeValidator(_measured)]]


class ReplyRecord(BaseModel):
    """A reply to a held-out prompt, and its scores."""

    dialogue: str
    persona: list[str]
    history: list[str]
    gold: str = ""
    gold_traits: list[int] = []
    reply: str
    scores: dict[str, float | None]
    at_odds: list[str] = []
    """What of the persona or of the own turns it contradicts."""


class QuestionRecord(BaseModel):
    """A question that was asked twice, about one trait, before these own turns (from 1)."""

    question: str = ""
    trait: int = 0
    own_turns: list[int] = []


class TalkRecord(BaseModel):
    """A dialogue of a system with itself."""

    dialogue: str = ""
    persona: list[str]
    partner_persona: list[str]
    asked: QuestionRecord = QuestionRecord()
    turns: list[str]


class TalkScores(BaseModel):
    """The scores of such a dialogue, by measure."""

    dialogue: str
    scores: dict[str, float | None]


class SelfplayRecord(BaseModel):
    """What was measured on such dialogues."""

    items: int | None = None
    turns: int | None = None
    left_out: int = 0
    metrics: Metrics
    references: dict[str, Metrics] = {}
    dialogues: list[TalkScores] = []
    samples: list[TalkRecord] = []


class JudgeRecord(BaseModel):
    """The judge of contradictions; what else is known of it tells one from another."""

    model_config = ConfigDict(extra="allow")
    name: str
    balanced_accuracy: dict[str, float] = {}


class ReaderRecord(BaseModel):
    """Which model says what makes sense, its bounds, and how often it is wrong (see `metrics/sense.py`)."""

    model_config = ConfigDict(extra="allow")
    name: str
    shares_base: bool = False
    turns: int = 0
    people_malformed: float | None = None
    people_unanswering: float | None = None
    others_answering: float | None = None


class EvaluationRecord(BaseModel):
    """`eval/<system>.json`: what was measured of one system.

    Attributes:
        system: its name in tables.
        checkpoint: of the weights that spoke; None: the base.
        items: prompts that call for the persona.
        left_out: prompts whose persona is too long for the model.
        metrics: by name.
        references: by row, the same metrics of replies whose quality is known.
        settings: sampling, evaluation, seed, best of how many.
        judge: of contradictions.
        reader: of sense.
        replies: to prompts that call for the persona.
        talk: to prompts from anywhere in dialogues.
        selfplay: dialogues of the system with itself; None: there were none.
    """

    system: str = ""
    checkpoint: str | None = None
    items: int | None = None
    left_out: int = 0
    metrics: Metrics
    references: dict[str, Metrics] = {}
    settings: dict[str, Any] = {}
    judge: JudgeRecord | None = None
    reader: ReaderRecord | None = None
    replies: list[ReplyRecord] = []
    talk: list[ReplyRecord] = []
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
