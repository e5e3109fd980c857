"""Replies of other systems: rows good and bad, what is asked of which reply, and systems compared prompt by prompt."""

from __future__ import annotations

import json
import math

import pytest
from held_out import ODD_REPLIES, PERSONA_METRICS

from selfsame.errors import DataError
from selfsame.eval.given import score_given
from selfsame.metrics.engagement import EngagementEvaluator
from selfsame.metrics.quality import QualityEvaluator
from selfsame.metrics.statistics import Bootstrap
from selfsame.ratings.rows import GivenReply, read_given
from selfsame.text.contradictions import RuleJudge
from selfsame.text.functions import load_function

BOOTSTRAP = Bootstrap(200)
PERSONA = ("I have two dogs.", "I teach chemistry.")


def read(tmp_path, *rows):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return read_given(file)


def given(reply, system="a", prompt=0, gold="", gold_traits=None, persona=PERSONA, dialogue=None):
    return GivenReply(1, system, dialogue, persona, (f"Any pets {prompt}?",), reply, gold, gold_traits)


def score(*rows):
    return score_given(rows, RuleJudge(), BOOTSTRAP)


def scores(result, metric):
    return [row["scores"][metric] for row in result["replies"]]


def test_rows(tmp_path):
    full = {"persona": [" ", "I sing.", "", "I  knit."], "context": ["Hi", "Yes ", "And?"], "reply": " So. ", "gold": "No.",
            "gold_traits": [3, 3, 0], "system": "x", "dialogue": 7, "more": 1}  # fmt: skip
    rows, rejected = read(tmp_path, full, {"reply": ""}, {"context": ["I start.", "Hm?"], "reply": "?", "gold": None})
    assert rejected == []
    assert rows[0] == GivenReply(1, "x", "7", ("I sing.", "I knit."), ("Hi", "Yes", "And?"), "So.", "No.", (1,))
    assert rows[1] == GivenReply(2, "replies", None, (), ("",), "")
    assert rows[2].context == ("", "I start.", "Hm?")  # the bot opened


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reply": None}, "reply is not text but None"),
        ({"reply": ["a"]}, "reply is not text"),
        ({"gold": 3}, "gold is not text but 3"),
        ({"persona": "I sing."}, "persona is not a list of texts"),
        ({"context": [1]}, "context is not a list of texts"),
        ({"gold_traits": 1}, "gold_traits is 1; give indices of the 1 traits, from 0"),
        ({"gold_traits": [1]}, "gold_traits is [1]"),
        ({"gold_traits": [True]}, "gold_traits is [True]"),
        ({"gold_traits": [-1]}, "gold_traits is [-1]"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path, change, reason):
    good = {"persona": ["I sing."], "context": ["Hi"], "reply": "Yes."}
    rows, rejected = read(tmp_path, good, good | change)
    assert len(rows) == 1 and rejected[0].line == 2 and rejected[0].reason.startswith(reason)
    with pytest.raises(DataError, match="no row can be used"):
        read(tmp_path, good | change)


def test_metrics_are_those_of_the_evaluators():
    rows = [
        given(f"I have {n} dogs and a cat {k}.", prompt=k, gold=f"Two dogs, {k}.")
        for k, n in enumerate(["two", "six"] * 4)
    ]
    record = score(*rows)["systems"]["a"]
    replies, gold, prompts = [r.reply for r in rows], [r.gold for r in rows], [r.context for r in rows]
    quality = QualityEvaluator(BOOTSTRAP)
    expected = {
        "engagement": EngagementEvaluator(BOOTSTRAP).evaluate_engagement(prompts, replies),
        "distinct_1": quality.compute_distinct_n(replies, 1),
        "distinct_2": quality.compute_distinct_n(replies, 2),
        "f1": quality.compute_f1(replies, gold),
        "rouge_l": quality.compute_rouge(replies, gold),
        "bleu": quality.compute_bleu(replies, gold),
    }
    assert {name: record["metrics"][name] for name in expected} == {n: e.to_dict() for n, e in expected.items()}
    assert record["metrics"]["contradiction"]["value"] == 0.5 and record["metrics"]["grounding"]["value"] == 1
    assert record["metrics"]["consistency"]["value"] == 0.5 and record["metrics"]["reply_words"]["value"] == 8
    assert (record["items"], record["dialogues"], record["wordless"]) == (8, 8, 0)


def test_odd_replies_have_a_score_or_are_counted():
    rows = [given(reply, prompt=k, gold="Two dogs.") for k, reply in enumerate(ODD_REPLIES)]
    record = score(*rows)["systems"]["a"]
    wordless = sum(not any(map(str.isalnum, reply)) for reply in ODD_REPLIES)
    assert record["wordless"] == wordless == 4
    for name, cell in record["metrics"].items():
        assert cell["count"] + cell["missing"] == len(ODD_REPLIES), name
    metrics = record["metrics"]
    assert all(
        metrics[name]["missing"] == 4 for name in ("contradiction", "copying_unprompted", "engagement", "distinct_1")
    )
    assert all(metrics[name]["missing"] == 0 for name in ("consistency", "grounding", "f1", "bleu", "reply_words"))
    alone = score(given("", persona=()))["systems"]["a"]["metrics"]
    assert all(math.isnan(cell["value"]) for name, cell in alone.items() if name != "reply_words")


def test_reference_rows():
    other = ("I drive a bus.",)
    rows = [given("I have two dogs. I teach chemistry.", gold="My dogs!", dialogue="x"),
            given("My bus.", prompt=1, persona=other, gold="A bus.", dialogue="y")]  # fmt: skip
    references = score(*rows)["systems"]["a"]["references"]
    value = {row: {name: cell["value"] for name, cell in found.items()} for row, found in references.items()}
    assert list(value) == ["gold", "random_persona", "persona_recited"]
    assert list(value["random_persona"]) == list(value["persona_recited"]) == PERSONA_METRICS
    assert value["gold"]["consistency"] == 1 and value["gold"]["reply_words"] == 2 and "f1" not in value["gold"]
    assert value["random_persona"]["grounding"] == 0
    assert (
        value["persona_recited"]["grounding"] == 1 and value["persona_recited"]["copying_unprompted"] == 0.5
    )  # one trait was called for
    nobody = [given("My bus.", prompt=k, persona=()) for k in range(20)]
    stranger = score(given("My bus."), given("My bus.", prompt=1, persona=other), *nobody)["systems"]["a"]["references"]
    assert stranger["random_persona"]["grounding"]["missing"] == 0  # who has no persona is nobody to be held against
    assert "gold" not in score(given("Yes."))["systems"]["a"]["references"]


def test_what_is_called_for_is_given_or_read_off_the_gold_reply():
    recited = "I have two dogs. I teach chemistry."
    found = score(
        given(recited, gold="My dogs!"),
        given(recited, prompt=1, gold="My dogs!", gold_traits=(0, 1)),
        given(recited, prompt=2, gold="I see."),  # calls for nothing
        given(recited, prompt=3, gold_traits=()),
        given("I have two dogs.", prompt=4),  # not known: one trait may be copied
    )
    assert scores(found, "copying_unprompted") == [1, 0, 1, 1, 0]
    for name in ("consistency", "grounding", "keywords"):
        assert [math.isnan(s) for s in scores(found, name)] == [False, False, True, True, False], name
    metrics = found["systems"]["a"]["metrics"]
    assert (metrics["consistency"]["count"], metrics["consistency"]["missing"]) == (3, 2)
    assert metrics["contradiction"]["count"] == 5
    recitation = found["systems"]["a"]["references"]["persona_recited"]["grounding"]
    assert (recitation["count"], recitation["missing"]) == (3, 2)


def test_own_turns_in_the_context_are_remembered():
    context = ("Hi", "I have three cats.", "Oh?")
    rows = [
        GivenReply(1, "a", None, (), context, "I have two cats."),
        GivenReply(2, "a", None, (), context[:1], "I have two cats."),
    ]
    assert scores(score(*rows), "contradiction") == [1, 0]


def test_systems_are_compared_on_the_prompts_that_both_answer():
    first = [given("No.", "base", k) for k in range(20)]
    second = [given("My two dogs.", "best", k) for k in reversed(range(5, 30))]
    third = [given("No way.", "same", k) for k in range(20)]
    found = score(*first, *second, *third, given("Dogs.", "alone", 99))
    assert found["paired"] == [
        {"system": "best", "than": "base", "prompts": 15},
        {"system": "same", "than": "base", "prompts": 20},
        {"system": "alone", "than": "base", "prompts": 0},
    ]
    by_name = {(c["system"], c["metric"]): c for c in found["comparisons"]}
    best = by_name["best", "grounding"]
    assert (best["verdict"], best["value"], best["count"], best["only_system"]) == ("higher", 1, 15, 15)
    assert best["p"] == 0.5**14 and best["p"] < best["p_corrected"] < 0.05
    assert by_name["same", "grounding"]["verdict"] == "tie" and by_name["same", "grounding"]["p"] == 1
    assert not any(c["system"] == "alone" for c in found["comparisons"])
    assert by_name["best", "engagement"]["p"] is None and "f1" not in {c["metric"] for c in found["comparisons"]}


def test_several_replies_to_a_prompt_are_paired_in_order():
    rows = [given("Dogs.", "a"), given("No.", "a"), given("Dogs.", "b"), given("No.", "b"), given("Dogs.", "b")]
    found = score(*rows)
    assert found["paired"] == [{"system": "b", "than": "a", "prompts": 2}]
    (pair,) = [c for c in found["comparisons"] if c["metric"] == "grounding"]
    assert (pair["value"], pair["only_system"], pair["only_than"], pair["verdict"]) == (0, 0, 0, "unknown")  # one group
    assert found["systems"]["b"]["dialogues"] == 1


def test_no_system_changes_another_ones_numbers():
    rows = [given(f"I have {k} dogs.", "a", k, gold="Dogs, yes.") for k in range(6)]
    others = [given("Dogs dogs, chemistry and two teachers.", "b", k, gold="Dogs, yes.") for k in range(6)]
    assert str(score(*rows)["systems"]["a"]) == str(score(*rows, *others)["systems"]["a"])


def test_the_judge_is_named():
    assert score(given("Yes."))["judge"]["name"] == "rules"


def test_a_function_of_the_user_is_a_metric(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def words(prompts, replies, gold):\n    return [float(len(r.split())) or float('nan') for r in replies]\n"
    )
    rows = [
        given("Two dogs.", gold="I have two."),
        given("", prompt=1),
        given("I have two dogs.", "b", gold="I have two."),
    ]
    result = score_given(rows, RuleJudge(), BOOTSTRAP, [load_function(f"{file}:words")])
    assert result["systems"]["a"]["metrics"]["mine.py:words"]["value"] == 2.0
    assert result["systems"]["a"]["metrics"]["mine.py:words"]["missing"] == 1
    assert result["systems"]["a"]["references"]["gold"]["mine.py:words"]["value"] == 3.0
    assert [s for s in scores(result, "mine.py:words") if s == s] == [2.0, 4.0]
    compared = [row for row in result["comparisons"] if row["metric"] == "mine.py:words"]
    assert [(row["system"], row["than"], row["value"]) for row in compared] == [("b", "a", 2.0)]
