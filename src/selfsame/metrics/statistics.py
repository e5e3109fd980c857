"""Numbers with their uncertainty: every value comes with an interval, a count, and how many items had no score."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from selfsame.run.records import EstimateRecord

FEWEST_GROUPS = 5
"""For the interval of a correlation: resamples of three or four points say the same again and again, or nothing."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval (NaN where nothing can be said). `count`: items behind it; `missing`: items that could
    not be scored (NaN, never 0)."""

    value: float
    low: float
    high: float
    count: int
    missing: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def record(self) -> EstimateRecord:
        """As a run records it."""
        return EstimateRecord(**asdict(self))

    def __str__(self) -> str:
        missing = f" missing={self.missing}" if self.missing else ""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.count}{missing}"


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: percentiles over resampled groups (dialogues), since turns of one dialogue are not
    independent (Efron & Tibshirani 1993, chapter 13; the cluster bootstrap of Field & Welsh 2007). The percentiles are
    moved outwards for few groups (the expanded percentile interval of Hesterberg 2015, arXiv:1411.5279), without which
    95 % intervals over eight dialogues hold the truth 90 % of the time. Less than two groups have no interval."""

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def mean(self, values: Sequence[float], groups: Sequence[Hashable] | None = None) -> Estimate:
        """Mean of the values that are not NaN, resampled by group (each value its own group if none are given)."""
        scores, names = np.asarray(values, dtype=float), _names(values, groups)
        known = ~np.isnan(scores)
        kept = [name for name, keep in zip(names, known, strict=True) if keep]
        return self.ratio(scores[known], np.ones(len(kept)), groups=kept, missing=len(scores) - len(kept))

    def share(self, values: Sequence[float], groups: Sequence[Hashable] | None = None) -> Estimate:
        """Mean of values in [0, 1]. Where all are 0, or all are 1, resampling would claim to be certain; then the interval
        is the exact binomial one (Clopper & Pearson 1934) with a trial for each group."""
        found = self.mean(values, groups)
        if found.value not in (0.0, 1.0):
            return found
        known = {name for name, value in zip(_names(values, groups), values, strict=True) if not math.isnan(value)}
        margin = 1 - ((1 - self.confidence) / 2) ** (1 / len(known))
        return replace(found, low=0.0, high=margin) if found.value == 0 else replace(found, low=1 - margin, high=1.0)

    def difference(
        self, one: Sequence[float], other: Sequence[float], groups: Sequence[Hashable] | None = None
    ) -> Estimate:
        """Mean of `one - other` on the same items (paired); a NaN on either side is missing."""
        return self.mean([a - b for a, b in zip(one, other, strict=True)], groups)

    def ratio(
        self,
        numerators: Sequence[float] | np.ndarray,
        denominators: Sequence[float] | np.ndarray,
        transform: Callable[[Any], Any] = lambda x: x,
        groups: Sequence[Hashable] | None = None,
        missing: int = 0,
    ) -> Estimate:
        """`transform(sum of numerators / sum of denominators)` over items, such as a perplexity from losses and tokens."""

        def statistic(sums: np.ndarray) -> Any:
            top, bottom = sums[..., 0], sums[..., 1]
            return transform(top / np.where(bottom == 0, math.nan, bottom))

        return self.of_sums(np.column_stack([numerators, denominators]), statistic, groups, missing)

    def of_sums(
        self,
        items_NK: Sequence[Sequence[float]] | np.ndarray,
        statistic: Callable[[np.ndarray], Any],
        groups: Sequence[Hashable] | None = None,
        missing: int = 0,
    ) -> Estimate:
        """A statistic of the sums over all items of K numbers each: a function of (..., K) sums to (...) values."""
        items_NK, count = np.asarray(items_NK, dtype=float), len(items_NK)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value = float(statistic(items_NK.sum(0))) if count else math.nan
            if math.isnan(value):
                return Estimate(math.nan, math.nan, math.nan, 0, missing + count)
            sums_GK = _by_group(items_NK, _names(items_NK, groups))
            if len(sums_GK) < 2 or math.isinf(value):
                return Estimate(value, math.nan, math.nan, count, missing)
            low, high = self._interval(np.asarray(statistic(self._draws(len(sums_GK)) @ sums_GK)), len(sums_GK))
        return Estimate(value, low, high, count, missing)

    def correlation(
        self,
        scores: Sequence[float],
        targets: Sequence[float],
        groups: Sequence[Hashable] | None = None,
        kind: str = "pearson",
    ) -> Estimate:
        """Correlation of scores with targets. `kind`: pearson, spearman (mid-ranks, taken anew in every resample), or auc:
        how often an item with target 1 scores above one with target 0, a tie counting half. NaN with count 0 where nothing
        can be said: under three known pairs, one side constant, auc with other targets than 0 and 1."""
        statistic = CORRELATIONS[kind]
        return self.of_weights([scores, targets], lambda found, w_RN: statistic(found[0], found[1], w_RN), groups)

    def correlation_difference(
        self,
        scores: Sequence[float],
        others: Sequence[float],
        targets: Sequence[float],
        groups: Sequence[Hashable] | None = None,
        kind: str = "pearson",
    ) -> tuple[Estimate, float]:
        """(how much higher `scores` correlate with the targets than `others`, on the items that both score; the two-sided
        p-value that they correlate alike, by t from the bootstrap's standard error, NaN where there is no interval)."""
        found: list[np.ndarray] = []

        def statistic(columns: list[np.ndarray], weights_RN: np.ndarray) -> np.ndarray:
            one, other, target = columns
            found.append(CORRELATIONS[kind](one, target, weights_RN) - CORRELATIONS[kind](other, target, weights_RN))
            return found[-1]

        estimate = self.of_weights([scores, others, targets], statistic, groups)
        drawn = np.concatenate([*found[1:], np.empty(0)])  # the first is of the items as they are
        drawn = drawn[np.isfinite(drawn)]
        if math.isnan(estimate.low) or len(drawn) < 2:
            return estimate, math.nan
        error, freedom = float(np.std(drawn, ddof=1)), len(set(_names(scores, groups))) - 1
        if not error:
            return estimate, 1.0 if estimate.value == 0 else math.nan
        return estimate, 2 * float(special.stdtr(freedom, -abs(estimate.value) / error))

    def of_weights(
        self,
        columns: Sequence[Sequence[float] | np.ndarray],
        statistic: Callable[[list[np.ndarray], np.ndarray], np.ndarray],
        groups: Sequence[Hashable] | None = None,
    ) -> Estimate:
        """A statistic of items that carry a number in each column and occur as often as their weight says: a function of
        columns (N,) and weights (R, N) to (R,) values. Items with a number that is not finite are missing; of fewer than
        `FEWEST_GROUPS` groups there is no interval."""
        items_NC = np.column_stack([np.asarray(column, dtype=float) for column in columns])
        known_N = np.array([math.isfinite(math.fsum(map(abs, item))) for item in items_NC], dtype=bool)
        names = [name for name, known in zip(_names(items_NC, groups), known_N, strict=True) if known]
        kept = [np.ascontiguousarray(column) for column in items_NC[known_N].T]
        missing = int((~known_N).sum())
        value = float(statistic(kept, np.ones((1, len(names))))[0]) if names else math.nan
        if math.isnan(value):
            return Estimate(math.nan, math.nan, math.nan, 0, len(items_NC))
        index = {name: i for i, name in enumerate(dict.fromkeys(names))}
        if len(index) < FEWEST_GROUPS:
            return Estimate(value, math.nan, math.nan, len(names), missing)
        draws_RG, group_N = self._draws(len(index)), [index[name] for name in names]
        size = max(1, 2**20 // len(names))  # resamples at a time, for the memory
        parts = [statistic(kept, draws_RG[k : k + size, group_N]) for k in range(0, self.resamples, size)]
        return Estimate(value, *self._interval(np.concatenate(parts), len(index)), len(names), missing)

    def _draws(self, groups: int) -> np.ndarray:
        """(resamples, groups): how often each group is drawn."""
        return np.random.default_rng(self.seed).multinomial(groups, np.full(groups, 1 / groups), self.resamples)

    def _interval(self, found: np.ndarray, groups: int) -> tuple[float, float]:
        found = found[np.isfinite(found)]  # a resample may hold nothing to divide by
        if not len(found):
            return math.nan, math.nan
        # Measured: 95 % percentile intervals cover 83.5 % over 5 dialogues and 92.5 % over 20, widened 92.8 and 94.5 %.
        quantile = special.stdtrit(groups - 1, (1 - self.confidence) / 2) * math.sqrt(groups / (groups - 1))
        tail = 100 * float(special.ndtr(quantile))
        return float(np.percentile(found, tail)), float(np.percentile(found, 100 - tail))


def jackknife(
    statistic: Callable[[Sequence[Any]], float],
    items: Sequence[Any],
    confidence: float = 0.95,
    blocks: int = 20,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    missing: int = 0,
) -> Estimate:
    """`statistic(items)` with an interval from leaving out one block of items at a time (Efron & Tibshirani 1993, chapter
    11): for statistics such as distinct-n, which resampling with its repeats would bias. `bounds` of the statistic, at
    which the interval is cut."""
    if not items:
        return Estimate(math.nan, math.nan, math.nan, 0, missing)
    value, blocks = statistic(items), min(blocks, len(items))
    if blocks < 2 or math.isnan(value):
        return Estimate(value, math.nan, math.nan, len(items), missing)
    left_out = [statistic([item for i, item in enumerate(items) if i % blocks != b]) for b in range(blocks)]
    error = math.sqrt((blocks - 1) * float(np.var(left_out)))
    width = float(special.stdtrit(blocks - 1, 0.5 + confidence / 2)) * error
    low, high = np.clip([value - width, value + width], *bounds).tolist()
    return Estimate(value, low, high, len(items), missing)


def pearson(scores_N: np.ndarray, targets_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """(R,) correlations of items that occur as often as each row of weights says; NaN where either side is constant or
    there are less than three items."""
    return _weighted_pearson(np.atleast_2d(scores_N), np.atleast_2d(targets_N), weights_RN)


def spearman(scores_N: np.ndarray, targets_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """`pearson` of mid-ranks."""
    return _weighted_pearson(_weighted_ranks(scores_N, weights_RN), _weighted_ranks(targets_N, weights_RN), weights_RN)


def auc(scores_N: np.ndarray, targets_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """(R,) areas under the curve of scores for targets 0 and 1 (Mann & Whitney's U over the number of pairs); NaN for other
    targets, or where one of the two does not occur."""
    if not set(targets_N.tolist()) <= {0.0, 1.0} or len(scores_N) < 3:
        return np.full(len(weights_RN), math.nan)
    positive_RN = weights_RN * targets_N
    ones_R = positive_RN.sum(1)
    zeros_R = weights_RN.sum(1) - ones_R
    wins_R = (positive_RN * _weighted_ranks(scores_N, weights_RN)).sum(1) - ones_R * (ones_R + 1) / 2
    pairs_R = ones_R * zeros_R
    return wins_R / np.where(pairs_R == 0, math.nan, pairs_R)


Correlation = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
CORRELATIONS: dict[str, Correlation] = {"pearson": pearson, "spearman": spearman, "auc": auc}


def mcnemar(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """McNemar's exact test (1947) of two systems' hits (1) and misses (0) on the same items: `p` that the items that only
    one of them hits are shared evenly, `only_one`, `only_other`, `count`, and `missing` (NaN on either side)."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if not (math.isnan(a) or math.isnan(b))]
    if bad := [pair for pair in pairs if not set(pair) <= {0.0, 1.0}]:
        raise ValueError(f"McNemar's test is for hits and misses, 1 and 0; got {bad[0]}")
    first, second = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    p = min(1.0, 2 * float(special.bdtr(min(first, second), first + second, 0.5))) if pairs else math.nan  # both tails
    missing = len(one) - len(pairs)
    return {"p": p, "only_one": first, "only_other": second, "count": len(pairs), "missing": missing}


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for there being several (Holm 1979): below 0.05 here means at most a 5 % chance of any false
    alarm among them. NaN stays NaN and is not counted."""
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected, highest = [math.nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[i] = highest
    return corrected


def _weighted_pearson(x_RN: np.ndarray, y_RN: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    total_R1 = weights_RN.sum(1, keepdims=True)
    x_RN, y_RN = (v - (v * weights_RN).sum(1, keepdims=True) / total_R1 for v in (x_RN, y_RN))
    xx_R, yy_R, xy_R = ((weights_RN * a * b).sum(1) for a, b in ((x_RN, x_RN), (y_RN, y_RN), (x_RN, y_RN)))
    scale = [np.maximum(1e-300, np.abs(v).max() ** 2) for v in (x_RN, y_RN)]
    sure_R = (xx_R > 1e-12 * scale[0]) & (yy_R > 1e-12 * scale[1]) & ((weights_RN > 0).sum(1) > 2)
    return np.where(sure_R, np.clip(xy_R / np.sqrt(np.where(sure_R, xx_R * yy_R, 1.0)), -1, 1), math.nan)


def _weighted_ranks(values_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """(R, N) mid-ranks of the items where each occurs as often as its weight says."""
    different, of_N = np.unique(values_N, return_inverse=True)
    order_N = np.argsort(of_N, kind="stable")
    starts = np.searchsorted(of_N[order_N], np.arange(len(different)))
    mass_RU = np.add.reduceat(weights_RN[:, order_N].astype(float), starts, axis=1)
    return (mass_RU.cumsum(1) - mass_RU / 2 + 0.5)[:, of_N]


def _names(values: Any, groups: Sequence[Hashable] | None) -> Sequence[Hashable]:
    return range(len(values)) if groups is None else groups


def _by_group(items_NK: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """(G, K) sums over the items of each group."""
    index = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    sums_GK = np.zeros((len(index), items_NK.shape[1]))
    np.add.at(sums_GK, [index[name] for name in groups], items_NK)
    return sums_GK


# --- as text ------------------------------------------------------------------------------------------------------------


def show_estimate(record: Mapping[str, Any] | None) -> str:
    """`.31 [.22, .40]` of an estimate's record, a dash where there is nothing."""
    if record is None or is_unknown(record["value"]):
        return "–"
    if is_unknown(record["low"]):
        return f"{record['value']:.2f}"
    return f"{record['value']:.2f} [{record['low']:.2f}, {record['high']:.2f}]"


def is_unknown(value: float | None) -> bool:
    """Whether a recorded number says nothing."""
    return value is None or math.isnan(value)
