"""The fitted score: the closed form against plain least squares, folds that keep dialogues whole, what is held out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from held_out import ODD_REPLIES

from selfsame.model.load import load_roles
from selfsame.model.settings import ModelSettings
from selfsame.ratings.fit import (
    PENALTIES,
    FeatureTable,
    Fitted,
    FittedScorer,
    Ridge,
    cross_validated,
    features_of,
    fit,
    fit_ridge,
    fitted_scorers,
    folds,
    leave_one_set_out,
    model_hash,
    normal_scores,
    row_hash,
)
from selfsame.ratings.likelihood import Likelihood
from selfsame.ratings.rows import RatedReply


def table(count=200, noise=0.5, sets=("a",), seed=0, features=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, features)) * [1, 10, 0.1, 5][:features] + 3
    y = x @ np.array([1, -0.05, 0, 0][:features]) + noise * rng.normal(size=count)
    names = tuple(sets[k % len(sets)] for k in range(count))
    return FeatureTable(tuple("abcd"[:features]), x, y, tuple(k // 4 for k in range(count)), names)


def test_without_penalty_it_is_least_squares():
    data = table()
    solved, *_ = np.linalg.lstsq(np.column_stack([data.features_NF, np.ones(200)]), data.targets_N, rcond=None)
    expected = data.features_NF @ solved[:-1] + solved[-1]
    assert fit_ridge(data, 1e-9).predict(data.features_NF) == pytest.approx(expected, abs=1e-6)
    flat = fit_ridge(data, 1e12)
    assert np.ptp(flat.predict(data.features_NF)) < 1e-3 and flat.intercept == pytest.approx(data.targets_N.mean())


def test_every_set_counts_alike():
    """However many rows it has: copies of a set's rows change nothing."""
    one, other = table(40, seed=1), table(60, seed=2)
    features = np.concatenate([one.features_NF, *[other.features_NF] * 5])
    mixed = FeatureTable(one.names, features, np.concatenate([one.targets_N, *[other.targets_N] * 5]),
                         tuple(range(340)), ("a",) * 40 + ("b",) * 300)  # fmt: skip
    found = fit_ridge(mixed, 1e-9)
    weights = np.array([1 / 40] * 40 + [1 / 300] * 300) ** 0.5
    columns = np.column_stack([features, np.ones(340)]) * weights[:, None]
    solved, *_ = np.linalg.lstsq(columns, mixed.targets_N * weights, rcond=None)
    shown = np.array(found.weights) / np.array(found.scales)
    assert shown == pytest.approx(solved[:-1], abs=0.05)


def test_missing_and_constant_features_count_for_nothing():
    data = table()
    features = data.features_NF.copy()
    features[:, 3] = math.nan
    features[:, 2] = 7.0
    features[::5, 1] = math.nan
    odd = FeatureTable(data.names, features, data.targets_N, data.groups, data.sets)
    found = fit(odd)
    assert found.weights[2] == found.weights[3] == 0 and found.weights[0] > 0.5
    assert np.isfinite(found.predict(features)).all()
    assert math.isnan(found.predict(np.array([[1.0, math.nan, math.nan, math.nan]]))[0])


def test_the_penalty_follows_the_noise():
    assert fit(table(noise=0.01)).penalty < fit(table(40, noise=200.0, seed=3)).penalty
    assert fit(table()).penalty in PENALTIES


def test_folds_keep_dialogues_whole():
    groups = [k // 3 for k in range(90)]
    found = folds(groups, 10, seed=1)
    assert all(len({found[k] for k in range(90) if groups[k] == g}) == 1 for g in range(30))
    assert sorted(np.bincount(found)) == [9] * 10 and (found != folds(groups, 10, seed=2)).any()


def test_what_is_held_out_was_not_fitted_on():
    """A feature that gives the dialogue away helps nothing: the dialogue is in one fold."""
    rng = np.random.default_rng(0)
    groups = np.arange(200) // 4
    luck = rng.normal(size=50)[groups]
    features = np.eye(50)[groups]
    data = FeatureTable(tuple(map(str, range(50))), features, luck, tuple(groups.tolist()), ("a", "b") * 100)
    inside = fit_ridge(data, 0.1).predict(features)
    assert np.corrcoef(inside, luck)[0, 1] > 0.9
    assert np.corrcoef(cross_validated(data), luck)[0, 1] < 0.3
    assert np.isfinite(leave_one_set_out(data)).all()
    good = table(sets=("a", "b"))
    assert np.corrcoef(cross_validated(good), good.targets_N)[0, 1] > 0.8
    assert np.corrcoef(leave_one_set_out(good), good.targets_N)[0, 1] > 0.8
    assert np.isnan(leave_one_set_out(table())).all()
    assert np.isnan(leave_one_set_out(good, origins={"a": "b"})).all()


def test_normal_scores_are_ranks_on_one_scale():
    found = normal_scores([1.0, 5.0, 2.0, 2.0])
    assert found[0] == -found[1] and found[2] == found[3] and found.mean() == pytest.approx(0, abs=0.2)
    assert normal_scores([3.0] * 5) == pytest.approx(0)


def test_a_fit_survives_its_file():
    fitted = Fitted("reply", ("a", "b"), Ridge((0.0, 1.0), (1.0, 2.0), (0.5, 0.25), 0.1, 10.0), "x",
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
