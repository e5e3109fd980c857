"""Correlations, their intervals, McNemar's test and Holm's correction against scipy and worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from selfsame.metrics.statistics import Bootstrap, auc, holm, mcnemar, pearson, spearman

KINDS = ("pearson", "spearman", "auc")


def drawn(count=60, seed=0, ties=True):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    y = 0.5 * x + rng.normal(size=count)
    return (np.round(x, 1), np.round(y, 0)) if ties else (x, y)


@pytest.mark.parametrize("ties", [True, False])
def test_equal_to_scipy(ties):
    x, y = drawn(ties=ties)
    assert Bootstrap().correlation(x, y).value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert Bootstrap().correlation(x, y, kind="spearman").value == pytest.approx(stats.spearmanr(x, y).statistic)
    label = (y > 0).astype(float)
    wins = stats.mannwhitneyu(x[label == 1], x[label == 0]).statistic
    expected = wins / (label.sum() * (1 - label).sum())
    assert Bootstrap().correlation(x, label, kind="auc").value == pytest.approx(expected)


def test_a_weight_is_a_number_of_copies():
    """So a resample by weights is the resample that a loop would draw."""
    x, y = drawn(40)
    label = (y > 0).astype(float)
    weights = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), 20)
    for statistic, target in ((pearson, y), (spearman, y), (auc, label)):
        found = statistic(x, target, weights)
        for row, value in zip(weights, found, strict=True):
            copies = np.repeat(np.arange(40), row)
            assert value == pytest.approx(statistic(x[copies], target[copies], np.ones((1, 40)))[0])


def test_intervals_over_dialogues_are_wider_and_hold_the_truth():
    rng = np.random.default_rng(3)
    hits = 0
    for seed in range(60):
        x, y = drawn(60, seed, ties=False)
        found = Bootstrap(200, seed=seed).correlation(x, y)
        hits += found.low < 0.5 / math.sqrt(1.25) < found.high
    assert hits >= 50
    base = rng.normal(size=(10, 2))
    x, y = np.repeat(base, 8, axis=0).T
    copies = Bootstrap().correlation(x, y, np.repeat(np.arange(10), 8))
    alone = Bootstrap().correlation(x, y)
    assert copies.high - copies.low > 1.5 * (alone.high - alone.low) and copies.count == 80


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("x", "y"),
    [([], []), ([1.0], [1.0]), ([1.0, 2.0], [0.0, 1.0]), ([3.0] * 9, [0.0, 1.0, 1.0] * 3), ([math.nan] * 4, [1.0] * 4)],
)
def test_nothing_can_be_said(kind, x, y):
    found = Bootstrap(100).correlation(x, y, kind=kind)
    assert math.isnan(found.value) or (kind == "auc" and x == [3.0] * 9)
    if math.isnan(found.value):
        assert (found.count, found.missing) == (0, len(x)) and math.isnan(found.low)


def test_a_constant_score_has_an_area_of_one_half_and_no_correlation():
    labels = [0.0, 1.0, 1.0] * 3
    assert Bootstrap().correlation([0.1] * 9, labels, kind="auc").value == 0.5
    assert math.isnan(Bootstrap().correlation([0.1] * 9, labels, kind="spearman").value)
    assert math.isnan(Bootstrap().correlation([0.1 + 1e-17] * 9, labels).value)
    assert math.isnan(Bootstrap().correlation([1.0, 2.0, 3.0], [0.0, 1.0, 2.0], kind="auc").value)


def test_missing_items_are_counted():
    x, y = drawn(30)
    x[:4], y[4] = math.nan, math.inf
    found = Bootstrap(100).correlation(x, y)
    assert (found.count, found.missing) == (25, 5)
    assert found.value == pytest.approx(stats.pearsonr(x[5:], y[5:]).statistic)


def test_a_difference_sees_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    good, bad, worse = (y + s * rng.normal(size=200) for s in (0.5, 3.0, 3.0))
    found, p = Bootstrap().correlation_difference(good, bad, y, kind="spearman")
    assert found.low > 0.3 and p < 1e-6
    found, p = Bootstrap().correlation_difference(bad, worse, y)
    assert found.low < 0 < found.high and p > 0.05
    same, p = Bootstrap().correlation_difference(good, good, y)
    assert same.value == 0 and p == 1.0
    assert math.isnan(Bootstrap().correlation_difference(good, bad, [1.0] * 200)[1])


def test_mcnemar_is_the_exact_binomial_test():
    one = [1.0] * 12 + [0.0] * 5 + [1.0, math.nan]
    other = [0.0] * 10 + [1.0, 1.0] + [1.0] * 2 + [0.0] * 3 + [1.0, 1.0]
    found = mcnemar(one, other)
    assert (found["only_one"], found["only_other"], found["count"], found["missing"]) == (10, 2, 18, 1)
    assert found["p"] == pytest.approx(2 * sum(math.comb(12, k) for k in range(3)) / 2**12)
    assert mcnemar([1.0, 0.0], [1.0, 0.0])["p"] == 1.0 and math.isnan(mcnemar([], [])["p"])
    with pytest.raises(ValueError, match="hits and misses"):
        mcnemar([0.5], [1.0])


def test_holm_as_worked_by_hand():
    assert holm([0.01, 0.04, math.nan, 0.03])[:2] == pytest.approx([0.03, 0.06])
    assert holm([0.01, 0.04, math.nan, 0.03])[3] == pytest.approx(0.06) and math.isnan(holm([math.nan])[0])
    assert holm([]) == [] and holm([0.6, 0.7]) == [1.0, 1.0]
