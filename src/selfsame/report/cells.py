"""Measured values as tables hold them: a cell each, and a row of them for each system or reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from selfsame.report.sources import UNKNOWN, finite
from selfsame.run.records import EstimateRecord, Metrics


class Results(Protocol):
    """What fills rows: an evaluation, or what a system was measured to say to itself."""

    @property
    def items(self) -> int | None: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def references(self) -> Mapping[str, Metrics]: ...


class Interval(Protocol):
    """A value with its interval, as several records hold one."""

    @property
    def value(self) -> float | None: ...

    @property
    def low(self) -> float | None: ...

    @property
    def high(self) -> float | None: ...

    @property
    def count(self) -> int | None: ...

    @property
    def missing(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Cell:
    """A measured value with its 95% confidence interval; None is unknown. `count` items were scored, `missing` not. With
    `seeds`: the mean of so many runs, with the lowest and the highest of them in place of an interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    missing: int = 0
    seeds: int | None = None

    def show(self, decimals: int) -> str:
        """`61.2 [57.0, 65.4]`, without brackets where there is no interval; of seeds `61.2 (57.0 to 65.4)`."""
        text = self.show_value(decimals)
        if self.value is None or self.low is None or self.high is None:
            return text
        if self.seeds:
            return f"{text} ({self.low:.{decimals}f} to {self.high:.{decimals}f})"
        return f"{text} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"

    def show_value(self, decimals: int) -> str:
        """The value alone."""
        return UNKNOWN if self.value is None else f"{self.value:.{decimals}f}"


@dataclass(frozen=True, slots=True)
class Row:
    """All metrics of one system, or of a reference that shows what a metric gives to known replies (`gold`)."""

    name: str
    kind: Literal["system", "reference"]
    items: int | None = None
    cells: dict[str, Cell] = field(default_factory=dict)


def cell_of(found: Interval) -> Cell:
    """The cell of a recorded value. NaN, which a fresh record may hold, is unknown."""
    seeds = found.seeds if isinstance(found, EstimateRecord) else None
    return Cell(finite(found.value), finite(found.low), finite(found.high), found.count, found.missing, seeds)


def cells_of(metrics: Metrics) -> dict[str, Cell]:
    """The cells of a row, by metric."""
    return {name: cell_of(estimate) for name, estimate in metrics.items()}
