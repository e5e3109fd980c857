"""Scores fitted to human ratings by ridge regression on standardised features (Hoerl & Kennard 1970).

The package holds the weights; `evaluator_models/ridge.py` fits them.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from selfsame.model.base import locate_model
from selfsame.model.load import load_roles
from selfsame.model.settings import BUNDLED, ModelSettings
from selfsame.ratings.followups import FollowUps
from selfsame.ratings.likelihood import Likelihood
from selfsame.ratings.ranker import Ranker, load_ranker
from selfsame.ratings.rows import RatedReply
from selfsame.ratings.scorers import FEATURES, FLOORS, PersonaEvidence, Scorer, TurnScorer, demo_matcher, engaging
from selfsame.types import Answer

WEIGHTS = "fitted.json"
QUALITY, OVERALL = "fitted quality", "overall"
_LEFT_OUT = ("length", "likelihood, all given", "likelihood, persona adds")
"""The logarithm stands for the first; the rated sets that the weights come from have no personas for the others."""


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


def features_of(likelihood: Likelihood, ranker: Ranker, followups: FollowUps | None = None) -> list[Scorer]:
    """What the fitted scores are made of: *fitted quality*, or with `followups` *overall*."""
    made = [*FLOORS, *FEATURES, *likelihood.scorers(), *ranker.scorers()]
    if followups is not None:
        made += [*followups.scorers(), PersonaEvidence(demo_matcher()), TurnScorer("engagement", engaging)]
    return [scorer for scorer in made if scorer.name not in _LEFT_OUT]


def feature_matrix(rows: Sequence[RatedReply], features: Sequence[Scorer]) -> np.ndarray:
    """(N, F), NaN where a feature says nothing."""
    return np.array([feature.score(rows) for feature in features], dtype=float).T.reshape(len(rows), len(features))


# --- the weights in the package -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """A fitted score and what it was fitted on.

    Attributes:
        kind: what it is called: `QUALITY`, or `OVERALL` with what the partner would say next.
        level: "reply" or "dialogue".
        features: names, in the order of the weights.
        ridge: the fit.
        model: hash of the base model's weights that the likelihoods came from.
        sets: per set `{name, rating, rows, dialogues}`.
        row_hashes: of the rows fitted on, so that nobody takes their agreement with them for a result.
    """

    kind: str
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
        kind = content.get("kind", QUALITY)
        return cls(kind, content["level"], features, Ridge(**ridge), content["model"], sets, hashes)


@dataclass(frozen=True)
class FittedScorer:
    """A fitted score as a scorer: of replies or of whole dialogues, as it was fitted; NaN for the other kind. On the scale
    of `normal_scores`: 0 is the middle of what people were shown."""

    fitted: Fitted
    likelihood: Likelihood
    ranker: Ranker
    followups: FollowUps | None = None

    @property
    def name(self) -> str:
        return f"{self.fitted.kind} of a {self.fitted.level}"

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        """A number for each row; NaN for rows of the other kind, and where a feature says nothing."""
        mine = [(row.reply is None) == (self.fitted.level == "dialogue") for row in rows]
        chosen = [row for row, keep in zip(rows, mine, strict=True) if keep]
        by_name = {s.name: s for s in features_of(self.likelihood, self.ranker, self.followups)}
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


@lru_cache(maxsize=4)
def model_hash(name: str = BUNDLED) -> str:
    """Of the weights in a model's folder; empty where there are none."""
    path = Path(locate_model(name)) / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def fitted_scorers(
    likelihood: Likelihood, model: str = BUNDLED, followups: FollowUps | None = None
) -> list[FittedScorer]:
    """The fitted scores of the package; none where the likelihoods come from another model than they were fitted with, and
    `OVERALL` only with `followups`."""
    made = [fitted for fitted in _packaged() if fitted.model == model_hash(model)]
    kinds = {QUALITY: None} | ({OVERALL: followups} if followups is not None else {})
    return [FittedScorer(f, likelihood, load_ranker(), kinds[f.kind]) for f in made if f.kind in kinds]


@lru_cache(maxsize=1)
def _packaged() -> tuple[Fitted, ...]:
    """The fits in the package; none in a checkout without them."""
    path = importlib.resources.files("selfsame") / "ratings" / WEIGHTS
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"scores": []}
    return tuple(map(Fitted.from_dict, content["scores"]))


def score_answers(kind: str, answers: Sequence[Answer], followups: FollowUps | None = None) -> list[float]:
    """A fitted score of answers; all missing where the package has no such fit. `followups`: what `OVERALL` needs."""
    # As in the rated sets of replies, none of which comes with personas.
    rows = [RatedReply(str(k), str(k), (), a.history, a.reply) for k, a in enumerate(answers)]
    scorers = fitted_scorers(_likelihood(), followups=followups)
    scorer = next((s for s in scorers if (s.fitted.kind, s.fitted.level) == (kind, "reply")), None)
    return scorer.score(rows) if scorer else [math.nan] * len(rows)


@lru_cache(maxsize=1)
def _likelihood() -> Likelihood:
    """Of the bundled base, loaded once in a process."""
    return Likelihood(load_roles(ModelSettings(max_length=512)))
