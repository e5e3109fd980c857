"""Paired comparisons of evaluations and benchmarks: equal is a tie, a clear difference is seen, missing stays missing."""

from __future__ import annotations

import math

import pytest

from selfsame.comparing.pairs import compare_systems
from selfsame.metrics.statistics import Bootstrap, holm, mcnemar
from selfsame.run.records import EvaluationRecord, ReplyRecord
from selfsame.tasks.compare_convai2 import compare_benchmarks, comparison_text
from selfsame.tasks.convai2 import pack


def of(rows):
    """An evaluation whose replies have these dialogues and scores."""
    more = {"persona": [], "history": [], "reply": ""}
    return EvaluationRecord(metrics={}, replies=[ReplyRecord(dialogue=d, scores=scores, **more) for d, scores in rows])


def record(scores):
    return of((f"d{k // 2}", {"consistency": s}) for k, s in enumerate(scores))


def test_verdicts():
    low, high = [0.0] * 30 + [1.0] * 10, [0.0] * 10 + [1.0] * 30
    shifted = [1.0, 0.0] * 20
    found = compare_systems({"base": record(low), "sft": record(high), "ppo": record(low)}, Bootstrap())
    assert [(f.system, f.than, f.verdict) for f in found] == [
        ("sft", "base", "higher"),
        ("ppo", "sft", "lower"),
    ]
    assert found[0].value == pytest.approx(0.5) and found[0].count == 40
    (tie,) = compare_systems({"base": record(shifted), "sft": record(shifted[::-1])}, Bootstrap())
    assert tie.verdict == "tie" and tie.value == 0


def test_copying_is_not_compared():
    sides = [record([0.0, 1.0] * 4), record([1.0, 1.0] * 4)]
    for side in sides:
        for row in side.replies:
            row.scores["copying"] = row.scores["consistency"]
    found = compare_systems(dict(zip(("base", "sft"), sides, strict=True)), Bootstrap())
    assert [row.metric for row in found] == ["consistency"] and found[0].p == found[0].p_corrected


def test_pairing_sees_what_two_intervals_do_not():
    """One reply in eight gets better and none worse: the intervals of the two shares overlap, that of the difference is
    above zero."""
    before = [float(k % 2) for k in range(80)]
    after = [1.0 if k % 8 == 0 else s for k, s in enumerate(before)]
    (found,) = compare_systems({"base": record(before), "sft": record(after)}, Bootstrap())
    one, other = (Bootstrap().share(s, [f"d{k // 2}" for k in range(80)]) for s in (before, after))
    assert found.verdict == "higher" and found.value == pytest.approx(0.125) and 0 < found.low < found.high
    assert one.value < other.value


def test_missing_scores_are_counted_and_nothing_is_unknown():
    (found,) = compare_systems({"base": record([None, 0.0, 1.0]), "sft": record([1.0, 1.0, 1.0])}, Bootstrap())
    assert (found.count, found.missing) == (2, 1)
    (one,) = compare_systems({"base": record([0.0]), "sft": record([1.0])}, Bootstrap())
    assert one.verdict == "unknown" and math.isnan(one.low)
    assert compare_systems({"base": record([0.0])}, Bootstrap()) == []


def result(hits, sums=None, f1=None, nats=10.0, lines=None):
    items = [
        {"line": k if lines is None else lines[k], "dialogue": k // 4, "hits_at_1": hit, "nats": nats, "end_nats": 1.0,
         "hits_at_1_sum": (sums or hits)[k], "bytes": 20, "f1": math.nan if f1 is None else f1[k]}
        for k, hit in enumerate(hits)
    ]  # fmt: skip
    return {"examples": {"rows": pack(items)}}


def test_two_benchmark_results():
    low, high = [0.0] * 60 + [1.0] * 20, [0.0] * 20 + [1.0] * 60
    noise = [float(k % 2) for k in range(80)]
    one, other = result(high, noise, f1=noise), result(low, noise[::-1], f1=noise)
    hits, sums, f1, bits = compare_benchmarks(one, other, Bootstrap())
    assert (hits["metric"], hits["verdict"]) == ("hits_at_1", "higher") and hits["value"] == pytest.approx(0.5)
    p = [mcnemar(high, low)["p"], mcnemar(noise, noise[::-1])["p"]]
    assert [hits["p"], sums["p"]] == holm(p) and math.isnan(f1["p"])
    assert sums["verdict"] == f1["verdict"] == bits["verdict"] == "tie" and f1["value"] == bits["value"] == 0
    assert compare_benchmarks(other, one, Bootstrap())[0]["verdict"] == "lower"
    text = comparison_text([hits, sums])
    assert "hits_at_1: +0.500 [" in text and "McNemar's p (Holm)" in text and text.endswith(": tie")


def test_a_difference_that_either_test_calls_noise_is_a_tie():
    """All differences are in one dialogue of twenty: McNemar, who knows no dialogues, would see one."""
    one = [1.0] * 12 + [0.0] * 68
    dialogues = [0] * 12 + [1 + k // 4 for k in range(68)]
    made = [result(hits) for hits in (one, [0.0] * 80)]
    for part in made:
        rows = [row.split(" ") for row in part["examples"]["rows"]]
        part["examples"]["rows"] = [" ".join([r[0], str(d), *r[2:]]) for r, d in zip(rows, dialogues, strict=True)]
    found = compare_benchmarks(*made, Bootstrap())[0]
    assert found["p"] < 0.01 and found["verdict"] == "tie"


def test_only_examples_that_both_hold_are_compared():
    one, other = result([1.0, 0.5, math.nan], lines=[1, 2, 3]), result([0.0, 1.0, 1.0, 1.0], lines=[1, 2, 3, 4])
    hits = compare_benchmarks(one, other, Bootstrap())[0]
    assert (hits["count"], hits["missing"]) == (2, 1) and hits["value"] == pytest.approx(0.25)
    assert math.isnan(mcnemar([], [])["p"]) and compare_benchmarks(one, result([1.0], lines=[9]), Bootstrap()) == []


def test_bits_per_byte_do_not_depend_on_the_tokenizer():
    found = compare_benchmarks(result([1.0] * 8, nats=12.0), result([1.0] * 8, nats=10.0), Bootstrap())[-1]
    assert found["metric"] == "bits_per_byte" and found["value"] == pytest.approx(2 / math.log(2) / 20)


def test_five_of_forty_are_a_tie_for_mcnemar():
    """The interval over dialogues leaves out 0, the exact test does not."""
    found = compare_benchmarks(result([float(k % 8 == 0) for k in range(40)]), result([0.0] * 40), Bootstrap())[0]
    assert found["low"] > 0 and found["p"] == pytest.approx(2 * 0.0625) and found["verdict"] == "tie"


def alone(**scores):
    """Every reply a dialogue of its own."""
    count = len(next(iter(scores.values())))
    return of((str(k), {name: values[k] for name, values in scores.items()}) for k in range(count))


def hits(count, of=40):
    return [1.0] * count + [0.0] * (of - count)


def test_a_yes_or_no_score_needs_mcnemars_test_too():
    """Five prompts won and none lost: the interval of the difference is above zero, and it happens in one of 16 ties."""
    (found,) = compare_systems({"base": alone(hit=hits(0)), "sft": alone(hit=hits(5))}, Bootstrap())
    assert found.low > 0 and found.verdict == "tie"
    assert (found.p, found.only_system, found.only_than) == (2 * 0.5**5, 5, 0) and found.p_corrected == found.p
    (found,) = compare_systems({"base": alone(hit=hits(8)), "sft": alone(hit=hits(0))}, Bootstrap())
    assert found.verdict == "lower" and found.only_than == 8


def test_an_interval_that_holds_zero_is_a_tie_whatever_mcnemar_says():
    """All that one system wins is in one dialogue of 20: prompts of a dialogue are not independent."""
    dialogues = [str(min(k // 10, 19)) for k in range(200)]
    rows = of((name, {"hit": float(k < 10)}) for k, name in enumerate(dialogues))
    (found,) = compare_systems({"base": of((name, {"hit": 0.0}) for name in dialogues), "sft": rows}, Bootstrap())
    assert found.p_corrected < 0.01 and found.low <= 0 and found.verdict == "tie"


def test_p_values_are_corrected_for_all_comparisons_of_a_run():
    six, none = hits(6), hits(0)
    (found,) = compare_systems({"base": alone(one=none), "sft": alone(one=six)}, Bootstrap())
    assert found.p_corrected == found.p == 2 * 0.5**6 and found.verdict == "higher"
    records = {"base": alone(one=none, two=none), "sft": alone(one=six, two=none), "ppo": alone(one=six, two=none)}
    several = compare_systems(records, Bootstrap())
    assert [f.p_corrected for f in several] == [4 * 2 * 0.5**6, 1, 1, 1] and several[0].low > 0
    assert [f.verdict for f in several] == ["tie"] * 4


def test_the_primary_score_is_corrected_for_its_own_tests_alone():
    """Sure by itself, a gain in character is not lost among the tests of scores that it is made of."""
    seven, none = hits(7), hits(0)
    others = {"consistency": none, "grounding": none}
    records = {system: alone(in_character=of, **others) for system, of in {"base": none, "sft": seven}.items()}
    found = {f.metric: f for f in compare_systems(records | {"ppo": alone(in_character=seven, **others)}, Bootstrap())
             if f.system == "sft"}  # fmt: skip
    assert found["in_character"].p_corrected == 2 * (2 * 0.5**7) and found["in_character"].verdict == "higher"
    assert {name: f.tests for name, f in found.items()} == {"in_character": 2, "consistency": 4, "grounding": 4}
    (tie,) = compare_systems({"base": alone(in_character=none), "sft": alone(in_character=hits(5))}, Bootstrap())
    assert tie.low > 0 and tie.verdict == "tie" and tie.tests == 1


def test_scores_that_are_no_yes_or_no_have_the_interval_alone():
    (found, other) = compare_systems(
        {"base": alone(much=[0.1] * 40, hit=hits(0)), "sft": alone(much=[0.5] * 40, hit=[math.nan] * 40)}, Bootstrap()
    )
    assert found.verdict == "higher" and found.p is found.p_corrected is found.only_system is None
    assert other.verdict == "unknown" and math.isnan(other.p)
