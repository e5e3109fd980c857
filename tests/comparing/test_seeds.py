"""Recipes of one or several seeds: which prompts are shared, what was measured alike, and differences over seeds and
dialogues against scipy's t-tests, of which the two-way interval is a common form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from evaluated import evaluation, recorded, recorded_reply
from selfsame.comparing.pairs import compare_systems
from selfsame.comparing.seeds import compare_recipes, not_comparable, on_shared_prompts, two_way
from selfsame.metrics.statistics import Bootstrap
from selfsame.run.records import EvaluationRecord, ReaderRecord

ONE, OTHER = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
NAMES = [f"d{k}" for k in range(12)]


def test_prompts_are_matched_by_what_they_are_not_by_where_they_stand():
    one = [recorded_reply(k, 1.0, text=f"one {k}") for k in range(6)]
    other = [recorded_reply(k, 0.0, text=f"other {k}") for k in (5, 3, 9, 1)]
    stranger = recorded_reply(3, 0.0, persona=["I sing."])
    ours, theirs = on_shared_prompts([one, [*other, stranger]])
    assert [row.reply for row in ours] == ["one 1", "one 3", "one 5"]
    assert [row.reply for row in theirs] == ["other 1", "other 3", "other 5"]
    assert on_shared_prompts([one, [stranger]]) == [[], []]


def test_a_prompt_that_occurs_twice_is_paired_twice():
    once = [recorded_reply(1, 1.0), recorded_reply(1, 0.0)]
    ours, theirs = on_shared_prompts([once, [once[1], once[0], once[0]]])
    assert [r.scores["consistency"] for r in ours] == [1.0, 0.0]
    assert [r.scores["consistency"] for r in theirs] == [0.0, 1.0]


def test_two_single_runs_are_compared_as_the_stages_of_a_run_are():
    one, other = recorded(ONE), recorded(OTHER)
    shuffled = other.model_copy(update={"replies": other.replies[::-1]})
    known = compare_systems({"sft": other, "ppo": one}, Bootstrap())[0]
    found = compare_recipes([one], [shuffled], Bootstrap()).found[0]
    both = found.model_dump().keys() & known.model_dump().keys()
    assert len(both) > 8 and found.model_dump(include=both) == known.model_dump(include=both)
    assert (found.wins, found.ties, found.losses) == (4, 3, 1)
    assert found.wins == known.only_system and found.losses == known.only_than


def test_what_could_not_be_scored_is_neither_won_nor_lost():
    found = compare_recipes([recorded([1.0, None, 1.0])], [recorded([0.0, 0.0, None])], Bootstrap())
    record = found.found[0]
    assert (record.wins, record.ties, record.losses, record.missing) == (1, 0, 0, 2)


def test_what_was_not_measured_alike_is_left_out():
    plain = recorded(ONE)
    assert not_comparable([plain, recorded(OTHER)]) == {}
    judged = recorded(OTHER, judge={"name": "another"})
    assert set(not_comparable([plain, judged])) == {"consistency", "contradiction"}
    rows = [r | {"scores": {"consistency": r["scores"]["consistency"]}} for r in evaluation(OTHER)["replies"]]
    assert not_comparable([plain, recorded(ONE, replies=rows)]) == {"contradiction": "not measured in all of them"}
    gold = {"gold": {"consistency": {"value": 0.8}, "contradiction": {"value": 0.005}}}  # .9 and 0 in the other one
    other_rules = recorded(OTHER, references=gold)
    assert list(not_comparable([plain, other_rules])) == ["consistency"]
    fewer = other_rules.model_copy(update={"replies": other_rules.replies[1:]})  # other prompts, other gold replies
    assert not_comparable([plain, fewer]) == {}
    found = compare_recipes([plain], [other_rules], Bootstrap())
    assert [record.metric for record in found.found] == ["contradiction"]


def test_the_headline_is_compared_on_the_prompts_from_anywhere():
    def talking(values, reader="smollm2-135m + reader"):
        rows = [
            r.model_copy(update={"scores": {"in_character": v}})
            for r, v in zip(recorded(ONE).replies, values, strict=True)
        ]
        return recorded(ONE).model_copy(update={"talk": rows, "reader": ReaderRecord(name=reader)})

    one, other = talking(ONE), talking(OTHER)
    found = compare_recipes([one], [other], Bootstrap(), "talk")
    assert [(r.metric, r.wins, r.losses) for r in found.found] == [("in_character", 4, 1)]
    assert (found.prompts, found.most) == (8, 8)
    toy = talking(OTHER, "selfsame-9m")
    assert not_comparable([one, toy], "talk") == {"in_character": "read by different readers"}
    assert compare_recipes([one], [recorded(OTHER)], Bootstrap(), "talk").found == []  # an earlier version's record


def test_copying_is_not_compared():
    sides = [evaluation(ONE), evaluation(OTHER)]
    ours, theirs = (EvaluationRecord.model_validate(side) for side in sides)
    plain = compare_recipes([ours], [theirs], Bootstrap())
    rows = [r | {"scores": r["scores"] | {"copying": 1.0}} for r in sides[0]["replies"]]
    found = compare_recipes([recorded(ONE, replies=rows)], [theirs], Bootstrap())  # nor named as missing from the other
    assert found == plain and "copying" not in found.left_out


def test_seeds_are_averaged_prompt_by_prompt():
    ours = [recorded(ONE), recorded(OTHER)]
    record = compare_recipes(ours, [recorded([0.0] * 8)], Bootstrap()).found[0]
    assert record.value == pytest.approx((6 / 8 + 3 / 8) / 2) and record.runs == [2, 1]
    assert (record.lowest, record.highest) == (3 / 8, 6 / 8)
    back = compare_recipes([recorded([0.0] * 8), recorded([1.0] * 8)], ours, Bootstrap()).found[0]
    assert (back.lowest, back.highest) == (-6 / 8, 1 - 3 / 8)
    assert (record.wins, record.ties, record.losses) == (7, 1, 0)
    assert record.low < record.value < record.high and 0 < record.p < 1


def test_without_spread_of_seeds_it_is_the_t_test_of_the_dialogues():
    differences = np.random.default_rng(0).normal(0.3, 1.0, 12)
    found, p = two_way(differences, NAMES, np.full(3, 0.3), np.zeros(3))
    known = stats.ttest_1samp(differences, 0.0)
    assert p == pytest.approx(known.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval(0.95)))


def test_without_spread_of_dialogues_it_is_welchs_t_test_of_the_seeds():
    one, other = np.array([0.5, 0.62, 0.41]), np.array([0.3, 0.32, 0.29, 0.33])
    found, p = two_way(np.full(12, one.mean() - other.mean()), NAMES, one, other, 0.9)
    known = stats.ttest_ind(one, other, equal_var=False)
    assert p == pytest.approx(known.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval(0.9)))


def test_a_single_run_is_held_against_the_spread_of_the_others_seeds():
    several, single = np.array([0.5, 0.62, 0.41, 0.55]), np.array([0.2])
    value = single.mean() - several.mean()
    _, p = two_way(np.full(12, value), NAMES, single, several)
    by_hand = value / (several.std(ddof=1) * math.sqrt(1 + 1 / 4))  # Crawford and Howell 1998
    assert p == pytest.approx(2 * stats.t.sf(abs(by_hand), 3))


def test_replies_of_one_dialogue_count_as_one():
    differences = np.repeat(np.random.default_rng(1).normal(0.3, 1.0, 12), 5)
    once, _ = two_way(differences[::5], NAMES, np.zeros(2), np.zeros(2))
    found, _ = two_way(differences, [name for name in NAMES for _ in range(5)], np.zeros(2), np.zeros(2))
    assert (found.low, found.high) == pytest.approx((once.low, once.high)) and found.count == 60


def test_the_interval_holds_the_truth():
    """Three seeds of either recipe on 20 dialogues of 6 prompts, no true difference."""
    draw, hits = np.random.default_rng(2), 0
    for _ in range(400):
        dialogues = np.repeat(np.arange(20), 6)
        one = draw.normal(0, 0.05, (3, 1)) + draw.normal(0, 0.1, 20)[dialogues] + draw.normal(0, 0.4, (3, 120))
        other = draw.normal(0, 0.05, (3, 1)) + draw.normal(0, 0.4, (3, 120))
        found, _ = two_way(one.mean(0) - other.mean(0), list(map(str, dialogues)), one.mean(1), other.mean(1))
        hits += found.low <= 0 <= found.high
    assert 0.93 <= hits / 400 <= 0.99


def test_nothing_can_be_said_of_one_dialogue_and_all_of_what_never_differs():
    found, p = two_way(np.array([0.0, 1.0]), ["d", "d"], np.array([0.4, 0.6]), np.array([0.0]))
    assert math.isnan(found.low) and math.isnan(p)
    found, p = two_way(np.zeros(12), NAMES, np.zeros(2), np.zeros(2))
    assert (found.low, found.high, p) == (0.0, 0.0, 1.0)
