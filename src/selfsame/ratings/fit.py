"""A score fitted to human ratings: ridge regression on standardised features (Hoerl & Kennard 1970), its penalty chosen
inside the training part. What is reported of it is always predicted for dialogues that it was not fitted on."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from selfsame.model.base import locate_model
from selfsame.model.load import load_roles
from selfsame.model.settings import BUNDLED, ModelSettings
from selfsame.ratings.likelihood import Likelihood
from selfsame.ratings.ranker import Ranker, load_ranker
from selfsame.ratings.rows import RatedReply
from selfsame.ratings.scorers import FEATURES, FLOORS, Scorer
from selfsame.types import Prompt

PENALTIES = tuple(10.0**k for k in range(-1, 6))
FOLDS = 10
INNER_FOLDS = 5
WEIGHTS = "fitted.json"
_LEFT_OUT = ("length", "likelihood, all given", "likelihood, persona adds")
"""The logarithm stands for the first; the rated sets that the weights come from have no personas for the others."""


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


@dataclass(frozen=True)
class Ridge:
    """`intercept + weights @ ((features - means) / scales)`; a feature that is missing (NaN) counts as its mean."""

    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    penalty: float

    def predict(self, features_NF: np.ndarray) -> np.ndarray:
        """(N,) predictions; NaN where more than half of the features are missing."""
        z_NF = (features_NF - np.array(self.means)) / np.array(self.scales)
        lost_N = np.isnan(z_NF).mean(1) > 0.5
        return np.where(lost_N, math.nan, self.intercept + np.nan_to_num(z_NF) @ np.array(self.weights))


def features_of(likelihood: Likelihood, ranker: Ranker) -> list[Scorer]:
    """What the fitted scores are made of."""
    made = (*FLOORS, *FEATURES, *likelihood.scorers(), *ranker.scorers())
    return [scorer for scorer in made if scorer.name not in _LEFT_OUT]


def feature_matrix(rows: Sequence[RatedReply], features: Sequence[Scorer]) -> np.ndarray:
    """(N, F), NaN where a feature says nothing."""
    return np.array([feature.score(rows) for feature in features], dtype=float).T.reshape(len(rows), len(features))


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


# --- the weights in the package -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """A fitted score and what it was fitted on.

    Attributes:
        level: "reply" or "dialogue".
        features: names, in the order of the weights.
        ridge: the fit.
        model: hash of the base model's weights that the likelihoods came from.
        sets: per set `{name, rating, rows, dialogues}`.
        row_hashes: of the rows fitted on, so that nobody takes their agreement with them for a result.
    """

    level: str
    features: tuple[str, ...]
    ridge: Ridge
    model: str
    sets: tuple[dict[str, Any], ...]
    row_hashes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self) | {"row_hashes": " ".join(self.row_hashes)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Fitted:
        """From what `to_dict` gave."""
        ridge: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content["ridge"].items()}
        hashes = tuple(content["row_hashes"].split())
        features, sets = tuple(content["features"]), tuple(content["sets"])
        return cls(content["level"], features, Ridge(**ridge), content["model"], sets, hashes)


@dataclass(frozen=True)
class FittedScorer:
    """A fitted score as a scorer: of replies or of whole dialogues, as it was fitted; NaN for the other kind. On the scale
    of `normal_scores`: 0 is the middle of what people were shown."""

    fitted: Fitted
    likelihood: Likelihood
    ranker: Ranker

    @property
    def name(self) -> str:
        return f"fitted quality of a {self.fitted.level}"

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        """A number for each row; NaN for rows of the other kind, and where a feature says nothing."""
        mine = [(row.reply is None) == (self.fitted.level == "dialogue") for row in rows]
        chosen = [row for row, keep in zip(rows, mine, strict=True) if keep]
        by_name = {s.name: s for s in features_of(self.likelihood, self.ranker)}
        features = [by_name[name] for name in self.fitted.features]
        found = iter(self.fitted.ridge.predict(feature_matrix(chosen, features)).tolist() if chosen else [])
        return [next(found) if keep else math.nan for keep in mine]

    def known_rows(self, rows: Sequence[RatedReply]) -> int:
        """How many of the rows it was fitted on."""
        return sum(row_hash(row) in set(self.fitted.row_hashes) for row in rows)


def row_hash(row: RatedReply) -> str:
    """Of what is scored: persona, context and reply."""
    text = json.dumps([row.persona, row.context, row.reply], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def model_hash(name: str = BUNDLED) -> str:
    """Of the weights in a model's folder; empty where there are none."""
    path = Path(locate_model(name)) / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def fitted_scorers(likelihood: Likelihood, model: str = BUNDLED) -> list[FittedScorer]:
    """The fitted scores of the package; none where the likelihoods come from another model than they were fitted with."""
    path = importlib.resources.files("selfsame") / "ratings" / WEIGHTS
    if not path.is_file():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    made = [fitted for fitted in map(Fitted.from_dict, content["scores"]) if fitted.model == model_hash(model)]
    return [FittedScorer(fitted, likelihood, load_ranker()) for fitted in made]


@lru_cache(maxsize=1)
def _reply_scorer() -> FittedScorer | None:
    """The package's fitted score of replies, with the bundled base that its likelihoods come from."""
    scorers = fitted_scorers(Likelihood(load_roles(ModelSettings(max_length=512))))
    return next((scorer for scorer in scorers if scorer.fitted.level == "reply"), None)


def fitted_quality(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:
    """Fitted quality of replies (see `FittedScorer`); all missing where the package has no fit."""
    rows = [
        RatedReply(str(k), str(k), (), prompt.history, reply)
        for k, (prompt, reply) in enumerate(zip(prompts, replies, strict=True))
    ]
    scorer = _reply_scorer()
    return scorer.score(rows) if scorer else [math.nan] * len(rows)
