"""Numbers with their uncertainty: every value comes with an interval, a count, and how many items could not be scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A value with its interval. `count`: items behind it; `missing`: items that could not be scored (NaN, never 0)."""

    value: float
    low: float
    high: float
    count: int
    missing: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.count}"


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: percentiles over resampled groups (dialogues), since turns of one dialogue are not
    independent (Efron & Tibshirani 1993, chapter 13; the cluster bootstrap of Field & Welsh 2007)."""

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def mean(self, values: Sequence[float], groups: Sequence[Hashable] | None = None) -> Estimate:
        """Mean of the values that are not NaN, resampled by group (each value its own group if none are given)."""
        scores = np.asarray(values, dtype=float)
        kept = ~np.isnan(scores)
        names = list(range(len(scores))) if groups is None else list(groups)
        sums, counts = _by_group(scores[kept], [n for n, keep in zip(names, kept, strict=True) if keep])
        return self.ratio(sums, counts, missing=int((~kept).sum()), count=int(kept.sum()))

    def ratio(
        self,
        numerators: Sequence[float] | np.ndarray,
        denominators: Sequence[float] | np.ndarray,
        transform: Callable[[Any], Any] = lambda x: x,
        missing: int = 0,
        count: int | None = None,
    ) -> Estimate:
        """`transform(sum of numerators / sum of denominators)` over groups, such as a perplexity from losses and tokens."""
        top, bottom = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
        size = len(top) if count is None else count
        if len(top) == 0 or bottom.sum() == 0:
            return Estimate(math.nan, math.nan, math.nan, 0, missing)
        drawn = np.random.default_rng(self.seed).multinomial(len(top), np.full(len(top), 1 / len(top)), self.resamples)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = transform((drawn @ top) / (drawn @ bottom))
        low, high = self._percentiles(found)
        return Estimate(float(transform(top.sum() / bottom.sum())), low, high, size, missing)

    def difference(self, one: Sequence[float], other: Sequence[float], groups: Sequence[Hashable] | None = None) -> Estimate:
        """Mean of `one - other` on the same items (paired); a NaN on either side is missing."""
        return self.mean(np.asarray(one, dtype=float) - np.asarray(other, dtype=float), groups)  # pyright: ignore

    def _percentiles(self, found: np.ndarray) -> tuple[float, float]:
        tail = 100 * (1 - self.confidence) / 2
        found = found[np.isfinite(found)]
        return (math.nan, math.nan) if not len(found) else (float(np.percentile(found, tail)), float(np.percentile(found, 100 - tail)))


def jackknife(statistic: Callable[[Sequence[Any]], float], items: Sequence[Any], confidence: float = 0.95, blocks: int = 20) -> Estimate:
    """`statistic(items)` with an interval from leaving out one block of items at a time (Efron & Tibshirani 1993, chapter
    11): for statistics such as distinct-n, which resampling with its repeats would bias."""
    if not items:
        return Estimate(math.nan, math.nan, math.nan, 0)
    value, blocks = statistic(items), min(blocks, len(items))
    if blocks < 2 or math.isnan(value):
        return Estimate(value, math.nan, math.nan, len(items))
    left_out = np.array([statistic([item for i, item in enumerate(items) if i % blocks != b]) for b in range(blocks)])
    error = math.sqrt((blocks - 1) / blocks * float(((left_out - left_out.mean()) ** 2).sum()))
    from scipy.stats import t

    width = float(t.ppf(0.5 + confidence / 2, blocks - 1)) * error
    return Estimate(value, value - width, value + width, len(items))


def _by_group(values: np.ndarray, groups: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each group."""
    index = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    where = np.array([index[name] for name in groups], dtype=int)
    return np.bincount(where, values, len(index)), np.bincount(where, minlength=len(index)).astype(float)
