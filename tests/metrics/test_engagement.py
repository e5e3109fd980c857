"""Engagement: the four features by hand, the rows that bound it, and no score where there is no word."""

from __future__ import annotations

import math

import pytest
from held_out import ODD_REPLIES, demo_examples, demo_items

from selfsame.metrics.engagement import EngagementEvaluator
from selfsame.metrics.hits import draw_distractors

CONTEXT = ["Hello, do you garden?", "I grow roses.", "Roses need sun and water."]


def test_features_by_hand():
    features = EngagementEvaluator().features
    found = features(CONTEXT, "My roses get water twice. Which colour do you prefer?")
    # rose, water, twice, colour, prefer: two of the five are in the context, both in the last turn
    assert list(found) == ["informative", "question", "uptake", "fresh"]
    assert list(found.values()) == pytest.approx([5 / 6, 1, 1, 3 / 5])
    # "garden" was said, but not in the last turn
    assert list(features(CONTEXT, "I garden.").values()) == pytest.approx([1 / 6, 0, 0, 0])
    assert list(features([], "Roses?").values()) == pytest.approx([1 / 6, 1, 0, 1])
    assert features(CONTEXT, "It is what it is.") == dict.fromkeys(found, 0.0)


def test_score_is_the_mean_of_the_features():
    evaluator = EngagementEvaluator()
    reply = "My roses get water twice. Which colour do you prefer?"
    assert evaluator.calculate_engagement_score(CONTEXT, reply) == pytest.approx((5 / 6 + 1 + 1 + 3 / 5) / 4)
    best = "Sunflowers, tulips, lilies, orchids: which survive without water?"
    assert evaluator.calculate_engagement_score(CONTEXT, best) > 0.9


@pytest.mark.parametrize("mark", "?？؟")
def test_questions_of_other_scripts(mark):
    assert EngagementEvaluator().features([], f"word{mark}")["question"] == 1.0


def test_a_loop_is_neither_informative_nor_fresh():
    """Saying "dogs" fifty times was once worth more than what people said (0.73 against 0.51)."""
    found = EngagementEvaluator().features(CONTEXT, "dogs " * 50 + "?")
    assert found["informative"] == pytest.approx(1 / 6) and found["fresh"] == pytest.approx(1 / 50)


@pytest.mark.parametrize("reply", ODD_REPLIES)
def test_odd_replies(reply):
    """No word, no score; any word of any script has one in [0, 1]."""
    score = EngagementEvaluator().calculate_engagement_score(CONTEXT, reply)
    if any(c.isalnum() for c in reply):
        assert 0.0 <= score <= 1.0
    else:
        assert math.isnan(score)


def test_missing_replies_are_counted():
    found = EngagementEvaluator().evaluate_engagement([CONTEXT] * 4, ["", "Roses?", "😀", "It is."], list("abcd"))
    assert found.value == pytest.approx((1 / 6 + 1 + 1 + 0) / 8) and (found.count, found.missing) == (2, 2)
    nothing = EngagementEvaluator().evaluate_engagement([CONTEXT], [""])
    assert math.isnan(nothing.value) and nothing.missing == 1
    with pytest.raises(ValueError):
        EngagementEvaluator().evaluate_engagement([CONTEXT], ["a", "b"])


def test_multi_turn_engagement_is_the_mean_over_dialogues():
    evaluator = EngagementEvaluator()
    dialogues = [["Hi", "Roses?", "Which", "Red roses?"], ["Hi", "It is.", "Yes"], ["Hi", "", "So", ""], ["Hi"], []]
    one = [evaluator.calculate_engagement_score(dialogues[0][:k], dialogues[0][k]) for k in (1, 3)]
    found = evaluator.evaluate_multi_turn_engagement(dialogues)
    assert found.value == pytest.approx((sum(one) / 2 + 0.0) / 2) and (found.count, found.missing) == (2, 3)
    assert one[1] < one[0]  # "roses" is not fresh any more


def test_rows_that_bound_it_on_the_bundled_dialogues():
    """Measured: people 0.51, the same replies to other prompts 0.50, loops 0.33, "Nice." 0. So the score tells dull replies
    from lively ones, and hardly whether a reply fits: only its uptake does."""
    items, evaluator = demo_items()[1], EngagementEvaluator()
    contexts, gold, groups = ([getattr(i, n) for i in items] for n in ("prompt", "reply", "group"))
    contexts = [prompt.history for prompt in contexts]
    people = evaluator.evaluate_engagement(contexts, gold, groups)
    assert people.low > 0.45 and people.count == len(items) > 200
    for dull in ("Nice.", "dogs dogs dogs dogs dogs dogs dogs?"):
        assert evaluator.evaluate_engagement(contexts, [dull] * len(gold), groups).high < people.low - 0.1
    other = [drawn[0] for drawn in draw_distractors(gold, gold, 1, 0)]
    fitting, misfit = (
        [evaluator.features(c, r)["uptake"] for c, r in zip(contexts, replies, strict=True)]
        for replies in (gold, other)
    )
    assert evaluator.bootstrap.difference(fitting, misfit, groups).low > 0
    turns = evaluator.evaluate_multi_turn_engagement([e.turns for e in demo_examples()])
    assert abs(turns.value - people.value) < 0.05
