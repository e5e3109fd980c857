"""The least that a policy has to move."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import tilt


def test_one_prompt_by_hand():
    found, kl = tilt.least_kl(np.array([0.2]), 0.5)
    assert found == pytest.approx(math.log(4))  # odds of 1/4 to odds of 1
    assert kl == pytest.approx(0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.8))
    assert tilt.least_kl(np.array([0.7]), 0.5) == pytest.approx((0, 0), abs=1e-6)


def test_no_other_change_reaches_the_goal_for_less():
    p, draw = np.array([0.1, 0.4, 0.9]), np.random.default_rng(0)
    _, least = tilt.least_kl(p, 0.8)
    for _ in range(500):
        r = np.clip(draw.random(3), 1e-6, 1 - 1e-6)
        if r.mean() >= 0.8:
            assert (r * np.log(r / p) + (1 - r) * np.log((1 - r) / (1 - p))).mean() > least


def test_what_it_costs_elsewhere():
    rows = [{"telling": 0.5, "tokens": 4, "drawn": True}, {"telling": 0.5, "tokens": 6, "drawn": False}]
    told, factor = tilt.in_talk(rows, 10**9, math.log(3))
    assert told == pytest.approx(0.75)
    assert factor == pytest.approx(math.exp((math.log(0.5 / 0.75) + math.log(0.5 / 0.25)) / 10))
    assert tilt.in_talk(rows, 10**9, 0.0) == pytest.approx((0.5, 1.0))


def test_the_table_begins_with_sft():
    rows = [{"p": p, "telling": p, "tokens": 5, "drawn": False} for p in (0.0, 0.5, 1.0)]
    text = tilt.table({"called": rows, "talk": rows, "samples": 4, "temperature": 0.7})
    lines = text.splitlines()
    assert lines[2].startswith("| 0.50 | 0.0 | 0.00 | 0.50 | 1.000 |") and "| 0.90 |" in text
    assert "From 3 and 3 prompts, 4 samples of SFT to each at temperature 0.7" in text
