"""Consistency: the rows that bound it come out where they should on the bundled dialogues, and what cannot be scored is
not scored."""

from __future__ import annotations

import math
import random

import pytest
from held_out import ODD_REPLIES, demo_examples, demo_items, demo_persona_evaluator

from selfsame.data.keywords import TraitMatcher
from selfsame.eval.persona import PersonaEvaluator
from selfsame.eval.system import others

DOGS, CHEMISTRY = ("I have two dogs.",), ("I teach chemistry.",)


def demo_scores(personas, replies):
    """(consistency, expression) over the bundled consistency set."""
    evaluator, groups = demo_persona_evaluator(), [i.dialogue_id for i in demo_items()[0]]
    expression = evaluator.bootstrap.share(evaluator.evaluate_expression(personas, replies), groups)
    return evaluator.evaluate_consistency(personas, replies, groups), expression


def test_gold_replies_are_consistent_and_random_personas_are_not():
    """Measured: gold 0.98 and 0.94, random persona 0.04 and 0.02, recitation 1."""
    items = demo_items()[0]
    own, gold = [i.prompt.persona for i in items], [i.reply for i in items]
    assert len(items) > 150 and len({i.dialogue_id for i in items}) > 20
    for kind, least, most in ((0, 0.95, 0.1), (1, 0.9, 0.06)):
        right, wrong = demo_scores(own, gold)[kind], demo_scores(others(own, 3), gold)[kind]
        assert right.value > least and wrong.value < most
        assert right.low > wrong.high + 0.75
        assert (right.count, right.missing) == (wrong.count, wrong.missing) == (len(items), 0)
        assert wrong.value > 0  # the floor is not zero: a keyword turns up by chance


def test_recitation_wins():
    """Why the row stands in every table: nothing scores better than saying one's persona again and again."""
    own = [i.prompt.persona for i in demo_items()[0]]
    for found in demo_scores(own, [" ".join(p) for p in own]):
        assert found.value == found.high == 1.0 and 0.8 < found.low < 0.9  # 24 dialogues cannot say more


@pytest.mark.parametrize("reply", ODD_REPLIES)
def test_odd_replies_draw_on_nothing(reply):
    """An empty reply is a reply, and not consistent."""
    evaluator = PersonaEvaluator()
    assert evaluator.evaluate_batch_responses([DOGS], [reply]) == [0.0]
    assert evaluator.evaluate_expression([DOGS], [reply]) == [0.0]


def test_long_replies_and_other_languages_match_too():
    evaluator = PersonaEvaluator()
    personas = [DOGS, ("У меня две собаки.",), ("我有两只狗",), ("Ich habe zwei Hunde.",)]
    replies = ["word " * 10_000 + "dogs", "Мои собаки спят.", "我有两只狗！", "Meine Hunde schlafen."]
    assert evaluator.evaluate_batch_responses(personas, replies) == [1.0] * 4
    assert evaluator.evaluate_batch_responses(personas, replies[1:] + replies[:1]) == [0.0] * 4


def test_a_persona_without_content_is_missing():
    evaluator = PersonaEvaluator()
    nothing = [(), ("I am me.",), ("😀", "!!")]
    for scores in (
        evaluator.evaluate_batch_responses(nothing, ["I have two dogs."] * 3),
        evaluator.evaluate_expression(nothing, ["I have two dogs."] * 3),
    ):
        assert all(map(math.isnan, scores))
    found = evaluator.evaluate_consistency([*nothing, DOGS, DOGS], ["My dogs!"] * 4 + ["No."])
    assert found.value == 0.5 and (found.count, found.missing) == (2, 3)
    with pytest.raises(ValueError):
        evaluator.evaluate_batch_responses([DOGS], [])


def test_expression_weighs_how_rare_a_word_is():
    """A keyword that everybody uses is a match, and expresses nothing."""
    matcher, persona = TraitMatcher(["I work a lot."] * 50 + ["The sea."]), ("I work at night as a dredger pilot.",)
    evaluator = PersonaEvaluator(matcher)
    assert evaluator.evaluate_batch_responses([persona], ["Lots of work."]) == [1.0]
    assert evaluator.evaluate_expression([persona], ["Lots of work."]) == [0.0]
    assert evaluator.evaluate_expression([persona], ["The dredger sank."]) == [1.0]


def test_multi_turn_consistency_is_the_share_of_traits_drawn_on():
    evaluator = PersonaEvaluator()
    persona = ("I have two dogs.", "I teach chemistry.", "I sing.", "I am me.")  # nobody can draw on the last
    dialogues = [["My dogs!", "Dogs again.", "I sing."], ["Hi."], [], ["Anything."]]
    found = evaluator.compute_multi_turn_consistency([persona] * 3 + [("I am me.",)], dialogues)
    assert found.value == pytest.approx((2 / 3 + 0) / 2) and (found.count, found.missing) == (2, 2)


def test_multi_turn_consistency_of_the_bundled_dialogues():
    examples = demo_examples()
    found = demo_persona_evaluator().compute_multi_turn_consistency(
        [e.persona for e in examples], [e.replies for e in examples]
    )
    assert found.value > 0.85  # their annotations: every trait is drawn on
    wrong = demo_persona_evaluator().compute_multi_turn_consistency(
        others([e.persona for e in examples], 0), [e.replies for e in examples]
    )
    assert wrong.value < 0.15


def test_others_are_somebody_else():
    personas = [DOGS, CHEMISTRY, DOGS, ("i have TWO dogs.",), ("I sing.",)] * 20
    found = others(personas, 0)
    for own, other in zip(personas, found, strict=True):
        assert other in personas and "".join(other).lower() != "".join(own).lower()
    assert len(set(found)) >= 3 and found == others(personas, 0) != others(personas, 1)
    traits = ("I have two dogs.", "I sing.")
    assert others([traits, traits[::-1]], 0) == [(), ()]  # the same person, in another order
    state = random.getstate()
    others(personas, 0)
    assert random.getstate() == state
