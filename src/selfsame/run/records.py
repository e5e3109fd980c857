"""What the records of a finished run hold, as far as others read them. Those of earlier versions lack some of it; what
is wrong with a damaged one is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    RootModel,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from selfsame.errors import RunError
from selfsame.run.files import read_json


class EstimateRecord(BaseModel):
    """A value with its interval; None is unknown. With `seeds`: the mean of so many runs, the interval is their span."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    missing: int = 0
    seeds: int | None = None

    @model_serializer(mode="wrap")
    def _without_seeds(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Single runs are recorded without `seeds`; means over seeds hold what is known of all of them."""
        single = self.seeds is None
        return {name: value for name, value in dump(self).items()
                if (name != "seeds" if single else name in self.model_fields_set)}  # fmt: skip


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
    gold_traits: list[int] | None = None
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
    """The judge of contradictions; what else is known of it tells one from another. `unknown_language`: code of the replies'
    language, where the judge does not know it."""

    model_config = ConfigDict(extra="allow")
    name: str
    balanced_accuracy: dict[str, float | None] = {}
    unknown_language: str = ""


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

    @property
    def confidence(self) -> float:
        """How often the intervals are to hold the truth."""
        return float((self.settings.get("evaluation") or {}).get("confidence", 0.95))

    @property
    def best_of(self) -> int:
        """Among how many replies the reward model chose."""
        return self.settings.get("best_of", 1)


class CostRecord(BaseModel):
    """`cost.json`: seconds by stage, dollars, bytes; None is unknown. See `MetricsTracker.track_cost`."""

    seconds: dict[str, float | None] = {}
    total_seconds: float | None = None
    gpus: int | None = None
    gpu_hourly_rate: float | None = None
    gpu_cost: float | None = None
    storage_bytes: float | None = None
    storage_cost_per_gb: float | None = None
    storage_cost: float | None = None
    total_cost: float | None = None
    peak_memory_bytes: float | None = None
    peak_gpu_memory_bytes: float | None = None
    notes: list[str] = []


class RewardRecord(BaseModel):
    """`reward.json`: shares of held-out pairs that the reward model ranks rightly."""

    pairs: int
    metrics: dict[str, float | None]


class EnvironmentRecord(BaseModel):
    """`environment.json`: what of the machine tells times and numbers of runs apart."""

    cpu: str | None = None
    cores: int | None = None
    gpus: list[Any] | None = None
    dtype: str | None = None


class InheritedRecord(BaseModel):
    """`inherited.json`: the machine on which stages were trained that a run took over."""

    environment: EnvironmentRecord


class DataRecord(BaseModel):
    """`data.json`: what the dialogues are, and how many rows were left out, by reason.

    Attributes:
        summary: for people.
        rejected: rows that could not be read.
        removed: dialogues that the clean-up left out, by reason.
        digest: of the dialogues, which a resumed run must find unchanged.
        pairs_digest: of the file of the user's own pairs, likewise once something was learned from them; "": there is none.
    """

    model_config = ConfigDict(extra="allow")
    summary: str = ""
    rejected: int = 0
    removed: dict[str, int] = {}
    digest: str | None = None
    pairs_digest: str = ""


class ShownReply(BaseModel):
    """A reply with its marked parts (text and kind), its scores and what it contradicts."""

    reply: str = ""
    parts: list[list[str]]
    scores: dict[str, float | None]
    at_odds: list[str] = []


class DialogueRecord(BaseModel):
    """A prompt and what all systems replied, as `dialogues.json` lists them. `differ`: whether not all are consistent alike."""

    dialogue: str = ""
    persona: list[str]
    history: list[str]
    gold: str = ""
    differ: bool = False
    replies: dict[str, ShownReply]


class Dialogues(RootModel[list[DialogueRecord]]):
    """`dialogues.json`."""


Model = TypeVar("Model", bound=BaseModel)


def read_record(path: Path, model: type[Model]) -> Model:
    """One of these from a file. Raises RunError where it is missing or damaged."""
    content = read_json(path)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise RunError(f"{path} is damaged ({where}: {first['msg']}): delete it and run its stage again") from error
