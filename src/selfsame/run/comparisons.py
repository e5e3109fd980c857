"""What was found of two systems on the same prompts, as `comparisons.json` lists it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, RootModel, SerializerFunctionWrapHandler, model_serializer

from selfsame.run.records import read_record

Pair = TypeVar("Pair", bound="PairRecord")


class PairRecord(BaseModel):
    """What was found of two systems; their names stay empty until `between`. It is recorded without what was not found."""

    system: str = ""
    than: str = ""

    def between(self: Pair, system: str, than: str) -> Pair:
        """The same under the names of the two systems."""
        return self.model_copy(update={"system": system, "than": than})

    @model_serializer(mode="wrap")
    def _found(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set}


PRIMARY = "in_character"
"""The score that a run is for. Its tests are corrected for each other alone; all others are secondary."""


class ComparisonRecord(PairRecord):
    """A paired difference, as `comparisons.json` lists them.

    Attributes:
        on: which prompts.
        metric: the score.
        value: of the difference, with its interval.
        p: of McNemar's exact test, or of Student's where there are several seeds; None: not tested.
        only_system: prompts that only the first of the two hits, of yes/no scores.
        wins: prompts on which the first has the higher score.
        runs: how many of either there are, where one is of several seeds.
        lowest: difference of any two of those.
        p_corrected: for all tests of its family (Holm): the primary score's, or those of all other scores.
        tests: how many the family has; None: there is no p, or the version corrected for all tests together.
        verdict: higher, lower, tie or unknown.
    """

    on: str = "same prompts"
    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    missing: int = 0
    p: float | None = None
    only_system: int | None = None
    only_than: int | None = None
    wins: int = 0
    ties: int = 0
    losses: int = 0
    runs: list[int] | None = None
    lowest: float | None = None
    highest: float | None = None
    p_corrected: float | None = None
    tests: int | None = None
    verdict: str = "unknown"


class Comparisons(RootModel[list[ComparisonRecord]]):
    """`comparisons.json`."""


def read_comparisons(path: Path) -> list[ComparisonRecord]:
    """Those of a run, none where there is no file. Raises RunError where it is damaged."""
    return read_record(path, Comparisons).root if path.exists() else []
