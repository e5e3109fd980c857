"""The fitted score: the closed form against plain least squares, folds that keep dialogues whole, what is held out."""

from __future__ import annotations

import math

import pytest
from held_out import ODD_REPLIES

from selfsame.model.load import load_roles
from selfsame.model.settings import ModelSettings
from selfsame.ratings.fit import (
    Fitted,
    FittedScorer,
    Ridge,
    features_of,
    fitted_scorers,
    model_hash,
    row_hash,
)
from selfsame.ratings.likelihood import Likelihood
from selfsame.ratings.rows import RatedReply


def test_a_fit_survives_its_file():
    fitted = Fitted("overall", "reply", ("a", "b"), Ridge((0.0, 1.0), (1.0, 2.0), (0.5, 0.25), 0.1, 10.0), "x",
                    ({"name": "s", "rating": "r", "rows": 2, "dialogues": 1},), ("aa", "bb"))  # fmt: skip
    assert Fitted.from_dict(fitted.to_dict()) == fitted


@pytest.fixture(scope="module")
def packaged() -> list[FittedScorer]:
    return fitted_scorers(Likelihood(load_roles(ModelSettings(max_length=256))))


def test_the_weights_in_the_package_belong_to_the_model_in_the_package(packaged):
    assert [s.fitted.level for s in packaged] == ["reply", "dialogue"]
    for scorer in packaged:
        assert set(scorer.fitted.features) == {f.name for f in features_of(scorer.likelihood, scorer.ranker)}
        assert scorer.fitted.model == model_hash() and all(s["rows"] > 100 for s in scorer.fitted.sets)
    assert fitted_scorers(packaged[0].likelihood, "another/model") == []


def test_the_packaged_score_on_odd_replies(packaged):
    replies, dialogues = packaged
    rows = [RatedReply(str(k), str(k), (), ("Hi.",), text.strip()) for k, text in enumerate(ODD_REPLIES)]
    found = replies.score(rows)
    assert len(found) == len(rows) and math.isnan(found[0]) and not any(map(math.isinf, found))
    assert all(map(math.isnan, dialogues.score(rows))) and replies.known_rows(rows) == 0
    stuck = [RatedReply(r, r, (), ("I went fishing on the lake today.",), r) for r in
             ("Oh nice, did you catch any fish on the lake?", "cat cat cat cat cat cat cat cat cat")]  # fmt: skip
    good, bad = replies.score(stuck)
    assert good > bad
    assert row_hash(rows[2]) != row_hash(rows[3]) == row_hash(rows[3])
