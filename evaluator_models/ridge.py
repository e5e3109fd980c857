"""Ridge regression on standardised features (Hoerl & Kennard 1970), its penalty chosen inside the training part. What is
reported of a fit is always predicted for dialogues that it was not fitted on."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from selfsame.ratings.fit import Ridge

PENALTIES = tuple(10.0**k for k in range(-1, 6))
FOLDS = 10
INNER_FOLDS = 5


@dataclass(frozen=True)
class FeatureTable:
    """Rows with their features, to fit on. `targets_N`: comparable between sets (see `normal_scores`); `sets`: where each
    row is from; `groups`: its dialogue."""

    names: tuple[str, ...]
    features_NF: np.ndarray
    targets_N: np.ndarray
    groups: tuple[Hashable, ...]
    sets: tuple[str, ...]

    def part(self, keep_N: np.ndarray) -> FeatureTable:
        """The rows where `keep_N` is True."""
        chosen = np.flatnonzero(keep_N)
        groups, sets = tuple(self.groups[k] for k in chosen), tuple(self.sets[k] for k in chosen)
        return FeatureTable(self.names, self.features_NF[chosen], self.targets_N[chosen], groups, sets)


def normal_scores(ratings: Sequence[float]) -> np.ndarray:
    """Ratings of one set as normal quantiles of their mid-ranks: every set then has the same scale."""
    return stats.norm.ppf((stats.rankdata(ratings) - 0.5) / max(1, len(ratings)))


def fit_ridge(table: FeatureTable, penalty: float) -> Ridge:
    """Closed form: (Z'WZ + penalty I) weights = Z'W(y - mean), Z standardised, W such that every set counts alike."""
    columns = [column[~np.isnan(column)] for column in table.features_NF.T]
    means_F = np.array([column.mean() if len(column) else 0.0 for column in columns])
    scales_F = np.array([column.std() if len(column) else 0.0 for column in columns])
    scales_F = np.where(scales_F > 1e-9, scales_F, math.inf)  # a constant feature counts for nothing
    z_NF = np.nan_to_num((table.features_NF - means_F) / scales_F)
    weight_N = _set_weights(table.sets)
    mean = float(weight_N @ table.targets_N / weight_N.sum())
    gram_FF = (z_NF * weight_N[:, None]).T @ z_NF + penalty * np.eye(z_NF.shape[1])
    weights_F = np.linalg.solve(gram_FF, (z_NF * weight_N[:, None]).T @ (table.targets_N - mean))
    scales = [float(s) if math.isfinite(s) else 1.0 for s in scales_F]
    return Ridge(tuple(means_F.tolist()), tuple(scales), tuple(weights_F.tolist()), mean, penalty)


def fit(table: FeatureTable, seed: int = 0) -> Ridge:
    """Ridge regression with the penalty whose predictions for held-out dialogues of this table are closest."""
    fold_N = folds(table.groups, INNER_FOLDS, seed)
    errors = [_held_out_error(table, fold_N, penalty) for penalty in PENALTIES]
    return fit_ridge(table, PENALTIES[int(np.argmin(errors))])


def cross_validated(table: FeatureTable, seed: int = 0) -> np.ndarray:
    """(N,) predictions, each by a fit (penalty and all) without the fold that its dialogue is in."""
    fold_N, found_N = folds(table.groups, FOLDS, seed), np.full(len(table.groups), math.nan)
    for fold in np.unique(fold_N):
        test_N = fold_N == fold
        if not test_N.all():
            found_N[test_N] = fit(table.part(~test_N), seed + 1).predict(table.features_NF[test_N])
    return found_N


def within_sets(table: FeatureTable, seed: int = 0) -> np.ndarray:
    """(N,) predictions, each by a fit on the other dialogues of the same set alone (`cross_validated` of each set)."""
    found_N = np.full(len(table.sets), math.nan)
    for name in dict.fromkeys(table.sets):
        mine_N = np.array(table.sets) == name
        found_N[mine_N] = cross_validated(table.part(mine_N), seed)
    return found_N


def leave_one_set_out(table: FeatureTable, seed: int = 0, origins: Mapping[str, str] | None = None) -> np.ndarray:
    """(N,) predictions, each by a fit on the other sets alone; NaN without any. `origins`: where sets are from, if several
    hold the same dialogues: those are left out together."""
    found_N = np.full(len(table.sets), math.nan)
    origin_N = np.array([(origins or {}).get(name, name) for name in table.sets])
    for origin in np.unique(origin_N):
        test_N = origin_N == origin
        if not test_N.all():
            found_N[test_N] = fit(table.part(~test_N), seed).predict(table.features_NF[test_N])
    return found_N


def folds(groups: Sequence[Hashable], count: int, seed: int) -> np.ndarray:
    """(N,) the fold of each row, the same for all rows of a group; folds hold as many groups each."""
    names = sorted({str(group) for group in groups})
    order = np.random.default_rng(seed).permutation(len(names))
    of = {names[k]: place % count for place, k in enumerate(order)}
    return np.array([of[str(group)] for group in groups])


def _held_out_error(table: FeatureTable, fold_N: np.ndarray, penalty: float) -> float:
    weight_N, error = _set_weights(table.sets), 0.0
    for fold in np.unique(fold_N):
        test_N = fold_N == fold
        if test_N.all():
            return math.inf
        found = fit_ridge(table.part(~test_N), penalty).predict(table.features_NF[test_N])
        error += float(np.nansum(weight_N[test_N] * (found - table.targets_N[test_N]) ** 2))
    return error


def _set_weights(sets: Sequence[str]) -> np.ndarray:
    names, of_N, counts = np.unique(np.array(sets), return_inverse=True, return_counts=True)
    return len(sets) / len(names) / counts[of_N]
