"""Intervals against scipy, numbers by hand and simulated data with a known truth; what is missing is counted."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from held_out import numpy_state
from scipy import stats

from selfsame.metrics.statistics import Bootstrap, Estimate, jackknife

NAN = math.nan


def scipys(data, statistic, groups, confidence=0.95):
    """scipy's percentile interval, at the level that makes it the expanded one for so many groups."""
    z = stats.t.ppf(0.5 + confidence / 2, groups - 1) * math.sqrt(groups / (groups - 1))
    level = stats.norm.cdf(z) - stats.norm.cdf(-z)
    result = stats.bootstrap(
        data, statistic, n_resamples=50_000, confidence_level=float(level), method="percentile", paired=True, rng=1
    )
    return result.confidence_interval


def close(found: Estimate, expected, share=0.04) -> bool:
    """Within a few percent of the interval's width: both are Monte Carlo estimates."""
    width = expected.high - expected.low
    return abs(found.low - expected.low) < share * width and abs(found.high - expected.high) < share * width


def test_mean_of_single_values_is_scipys_bootstrap():
    values = np.random.default_rng(0).exponential(2.0, 30)
    found = Bootstrap(resamples=50_000).mean(values.tolist())
    assert found.value == pytest.approx(values.mean()) and (found.count, found.missing) == (30, 0)
    assert close(found, scipys((values,), np.mean, 30))
    narrow = Bootstrap(resamples=50_000, confidence=0.8).mean(values.tolist())
    assert close(narrow, scipys((values,), np.mean, 30, 0.8))
    assert found.low < narrow.low < narrow.high < found.high


def test_grouped_mean_is_scipys_bootstrap_of_the_groups():
    """A ratio estimator: big groups count more, and a resample has not always as many values."""
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 12, 20)
    groups = np.repeat(np.arange(20), sizes)
    values = rng.normal(size=20)[groups] + rng.normal(size=len(groups))
    mixed = rng.permutation(len(values))  # items come in any order
    found = Bootstrap(resamples=50_000).mean(values[mixed].tolist(), [f"dialogue {g}" for g in groups[mixed]])
    sums = np.bincount(groups, values)

    def ratio(top, bottom, axis=-1):
        return top.sum(axis) / bottom.sum(axis)

    assert found.value == pytest.approx(values.mean()) and found.count == len(values)
    assert close(found, scipys((sums, sizes), ratio, 20))
    assert not close(found, scipys((values,), np.mean, len(values)))


def coverage(groups: int, trials: int = 400) -> tuple[float, float]:
    """How often 95 % intervals hold the true mean of clustered 0/1 values (0.4; correlation within a group 0.25), with
    the groups and without them."""
    hits = np.zeros(2)
    for trial in range(trials):
        rng = np.random.default_rng([trial, groups])
        sizes = rng.integers(2, 9, groups)
        chance = np.repeat(rng.beta(1.2, 1.8, groups), sizes)
        values = (rng.random(len(chance)) < chance).astype(float).tolist()
        bootstrap = Bootstrap(resamples=400, seed=trial)
        found = bootstrap.mean(values, np.repeat(np.arange(groups), sizes).tolist()), bootstrap.mean(values)
        hits += [e.low <= 0.4 <= e.high for e in found]
    return hits[0] / trials, hits[1] / trials


@pytest.mark.parametrize(("groups", "least"), [(5, 0.89), (12, 0.91), (40, 0.92)])
def test_intervals_hold_the_truth_as_often_as_they_say(groups, least):
    """`least` is 95 % less what a small sample costs less two standard errors of 400 trials; the plain percentile interval
    has 83.5 % with five groups."""
    clustered, ignoring = coverage(groups)
    assert least <= clustered <= 0.985
    assert ignoring < 0.87


def test_values_that_are_nan_are_missing_and_not_zero():
    found = Bootstrap().mean([1.0, NAN, 0.0, 1.0, NAN], ["a", "a", "b", "c", "d"])
    assert found.value == pytest.approx(2 / 3) and (found.count, found.missing) == (3, 2)
    without = Bootstrap().mean([1.0, 0.0, 1.0], ["a", "b", "c"])
    assert (found.low, found.high) == (without.low, without.high)
    assert "missing=2" in str(found) and "missing" not in str(without)


@pytest.mark.parametrize("estimate", [Bootstrap().mean, Bootstrap().share])
def test_nothing_gives_nothing(estimate):
    for values, missing in (([], 0), ([NAN], 1), ([NAN] * 7, 7)):
        found = estimate(values)
        assert all(map(math.isnan, (found.value, found.low, found.high)))
        assert (found.count, found.missing) == (0, missing)


def test_one_item_or_one_group_has_no_interval():
    for found in (Bootstrap().mean([0.3]), Bootstrap().mean([0.1, 0.5], ["a", "a"])):
        assert found.value == pytest.approx(0.3) and math.isnan(found.low) and math.isnan(found.high)


def test_lengths_that_differ_are_refused():
    for call in (
        lambda: Bootstrap().mean([1.0, 2.0], ["a"]),
        lambda: Bootstrap().difference([1.0, 2.0], [1.0]),
        lambda: Bootstrap().share([0.0], ["a", "b"]),
        lambda: Bootstrap().ratio([1.0], [1.0, 2.0]),
    ):
        with pytest.raises(ValueError):
            call()


@pytest.mark.parametrize("value", [0, 1])
def test_all_or_nothing_is_not_certain(value):
    """0 of 40 dialogues says: below 9 %. Scipy's exact interval, with a trial for each dialogue."""
    exact = stats.binomtest(40 * value, 40).proportion_ci(0.95)
    found = Bootstrap().share([float(value)] * 40)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    exact = stats.binomtest(8 * value, 8).proportion_ci(0.9)
    grouped = Bootstrap(confidence=0.9).share([float(value)] * 40 + [NAN], [k % 8 for k in range(40)] + [9])
    assert (grouped.low, grouped.high) == pytest.approx((exact.low, exact.high))
    assert (grouped.count, grouped.missing) == (40, 1)


def test_a_share_stays_between_nothing_and_all():
    values = [1.0] * 29 + [0.5]
    assert Bootstrap().share(values) == Bootstrap().mean(values)
    assert Bootstrap().share(values).high <= 1.0


def test_difference_is_paired():
    rng = np.random.default_rng(5)
    hard = rng.normal(size=60)  # what both systems have in common
    one, other = hard + 0.3 + 0.1 * rng.normal(size=60), hard + 0.1 * rng.normal(size=60)
    found = Bootstrap().difference(one.tolist(), other.tolist())
    assert 0.2 < found.low < found.value < found.high < 0.4
    assert found.value == pytest.approx((one - other).mean())
    alone = Bootstrap().mean(one.tolist())
    assert found.high - found.low < 0.3 * (alone.high - alone.low)
    lacking = Bootstrap().difference([1.0, NAN, 3.0, 4.0], [0.0, 1.0, NAN, 2.0])
    assert lacking.value == 1.5 and (lacking.count, lacking.missing) == (2, 2)


def test_ratio_transforms_the_ratio_of_sums():
    """A perplexity is not the mean of perplexities."""
    found = Bootstrap().ratio([2.0, 12.0], [2.0, 4.0], np.exp)
    assert found.value == pytest.approx(math.exp(14 / 6))
    assert (found.low, found.high) == (pytest.approx(math.exp(1)), pytest.approx(math.exp(3)))
    assert (found.count, found.missing) == (2, 0)


def test_nothing_to_divide_by_is_missing():
    found = Bootstrap().ratio([2.0, 3.0], [0.0, 0.0], np.exp, missing=1)
    assert math.isnan(found.value) and (found.count, found.missing) == (0, 3)
    partly = Bootstrap().ratio([2.0, 3.0, 1.0], [0.0, 1.0, 1.0])
    assert partly.value == 3.0 and math.isfinite(partly.low) and math.isfinite(partly.high)


def test_a_probability_of_zero_is_an_infinite_perplexity_without_an_interval():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for losses in ([math.inf, 1.0, 2.0], [3000.0, 2000.0, 4000.0]):
            found = Bootstrap().ratio(losses, [1.0, 1.0, 1.0], np.exp)
            assert found.value == math.inf and math.isnan(found.low) and found.count == 3


def test_statistic_of_sums_is_a_loop_over_resamples():
    items = np.random.default_rng(2).random((30, 3))
    groups = [k % 10 for k in range(30)]

    def statistic(sums):
        return sums[..., 0] * sums[..., 1] / sums[..., 2]

    bootstrap = Bootstrap(resamples=200, seed=4)
    found = bootstrap.of_sums(items, statistic, groups)
    draws = np.random.default_rng(4).multinomial(10, [0.1] * 10, 200)
    values = []
    for draw in draws:
        chosen = [row for g, times in enumerate(draw) for _ in range(times) for row in items[g::10]]
        values.append(statistic(np.sum(chosen, 0)))
    tail = 100 * stats.norm.cdf(stats.t.ppf(0.025, 9) * math.sqrt(10 / 9))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, [tail, 100 - tail])))
    assert found.value == pytest.approx(statistic(items.sum(0)))


def test_intervals_depend_on_the_seed_alone():
    values = np.random.default_rng(0).random(20).tolist()
    state = numpy_state()
    assert Bootstrap(seed=3).mean(values) == Bootstrap(seed=3).mean(values) != Bootstrap(seed=4).mean(values)
    assert numpy_state() == state


def test_jackknife_of_a_mean_is_the_t_interval():
    """Leaving out one value at a time gives the textbook standard error; blocks of two give it over pairs."""
    values = np.random.default_rng(7).normal(size=20)
    exact = stats.t.interval(0.9, 19, values.mean(), stats.sem(values))
    found = jackknife(np.mean, values.tolist(), 0.9)
    assert (found.low, found.high) == pytest.approx(exact) and found.count == 20
    pairs = values.reshape(2, 10).mean(0)  # item i is in block i % 10
    exact = stats.t.interval(0.95, 9, values.mean(), stats.sem(pairs))
    assert (jackknife(np.mean, values.tolist(), blocks=10).low, found.value) == pytest.approx((exact[0], values.mean()))


def test_jackknife_stays_within_bounds_and_says_when_it_cannot_say():
    found = jackknife(np.mean, [0.0, 1.0, 1.0, 1.0], bounds=(0.0, 1.0), missing=3)
    assert 0.0 <= found.low < 0.75 < found.high == 1.0 and found.missing == 3
    assert jackknife(np.mean, [0.0, 1.0, 1.0, 1.0]).high > 1.0
    assert math.isnan(jackknife(np.mean, [0.5]).low) and jackknife(np.mean, [0.5]).value == 0.5
    assert math.isnan(jackknife(np.mean, []).value) and jackknife(np.mean, []).count == 0
