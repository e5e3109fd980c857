"""Paired comparisons: equal is a tie, a clear difference is seen, missing stays missing."""

from __future__ import annotations

import math

import pytest

from selfsame.eval.compare import compare_systems
from selfsame.eval.statistics import Bootstrap


def record(scores):
    return {"replies": [{"dialogue": f"d{k // 2}", "scores": {"consistency": s}} for k, s in enumerate(scores)]}


def test_verdicts():
    low, high = [0.0] * 30 + [1.0] * 10, [0.0] * 10 + [1.0] * 30
    shifted = [1.0, 0.0] * 20
    found = compare_systems({"base": record(low), "sft": record(high), "ppo": record(low)}, Bootstrap())
    assert [(f["system"], f["than"], f["verdict"]) for f in found] == [
        ("sft", "base", "higher"),
        ("ppo", "sft", "lower"),
    ]
    assert found[0]["value"] == pytest.approx(0.5) and found[0]["count"] == 40
    (tie,) = compare_systems({"base": record(shifted), "sft": record(shifted[::-1])}, Bootstrap())
    assert tie["verdict"] == "tie" and tie["value"] == 0


def test_pairing_sees_what_two_intervals_do_not():
    """One reply in eight gets better and none worse: the intervals of the two shares overlap, that of the difference is
    above zero."""
    before = [float(k % 2) for k in range(80)]
    after = [1.0 if k % 8 == 0 else s for k, s in enumerate(before)]
    (found,) = compare_systems({"base": record(before), "sft": record(after)}, Bootstrap())
    one, other = (Bootstrap().share(s, [f"d{k // 2}" for k in range(80)]) for s in (before, after))
    assert found["verdict"] == "higher" and found["value"] == pytest.approx(0.125) and 0 < found["low"] < found["high"]
    assert one.value < other.value


def test_missing_scores_are_counted_and_nothing_is_unknown():
    (found,) = compare_systems({"base": record([None, 0.0, 1.0]), "sft": record([1.0, 1.0, 1.0])}, Bootstrap())
    assert (found["count"], found["missing"]) == (2, 1)
    (one,) = compare_systems({"base": record([0.0]), "sft": record([1.0])}, Bootstrap())
    assert one["verdict"] == "unknown" and math.isnan(one["low"])
    assert compare_systems({"base": record([0.0])}, Bootstrap()) == []
