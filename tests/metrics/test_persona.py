"""Keeping the persona: the rows that bound it come out where they should on the bundled dialogues, and what cannot be scored is
not scored."""

from __future__ import annotations

import math
import random

import pytest
from held_out import ODD_REPLIES, demo_examples, demo_items, demo_persona_evaluator

from selfsame.eval.scoring import strangers
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.text.contradictions import RuleJudge
from selfsame.text.keywords import TraitMatcher

DOGS, CHEMISTRY = ("I have two dogs.",), ("I teach chemistry.",)


def demo_scores(personas, replies, own=True):
    """Every score over the bundled consistency set, as an estimate."""
    evaluator, items = demo_persona_evaluator(), demo_items()[0]
    gold_traits = [i.gold_traits if own else () for i in items]
    found = evaluator.evaluate_each(personas, replies, [i.prompt.history for i in items], gold_traits)
    groups = [i.group for i in items]
    return {name: evaluator.bootstrap.share(values, groups) for name, values in found.items()}


def test_gold_replies_are_consistent_and_random_personas_are_not():
    """Measured: expression .94 and .02, keywords .98 and .04."""
    items = demo_items()[0]
    own, gold = [i.prompt.persona for i in items], [i.reply for i in items]
    assert len(items) > 150 and len({i.group for i in items}) > 20
    right, wrong = demo_scores(own, gold), demo_scores(strangers(own, 3), gold, own=False)
    for name, least, most in (("keywords", 0.95, 0.1), ("grounding", 0.9, 0.06), ("consistency", 0.8, 0.06)):
        assert right[name].value > least and wrong[name].value < most
        assert right[name].low > wrong[name].high + 0.7
        assert (right[name].count, right[name].missing) == (wrong[name].count, wrong[name].missing) == (len(items), 0)
    assert wrong["keywords"].value > 0  # the floor is not zero: a keyword turns up by chance
    assert right["copying_unprompted"].value < 0.1


def test_who_only_recites_is_not_consistent():
    """Keyword matching scores nothing higher than saying one's persona again and again; consistency gives it nothing."""
    own = [i.prompt.persona for i in demo_items()[0]]
    found = demo_scores(own, [" ".join(p) for p in own])
    for name in ("keywords", "grounding", "copying_unprompted"):
        assert found[name].value == found[name].high == 1.0 and 0.8 < found[name].low < 0.9  # 24 dialogues
    assert found["consistency"].value == 0.0


def test_recitation_is_of_what_was_not_called_for():
    evaluator = PersonaEvaluator()
    persona = ("I have two dogs.", "I teach chemistry at a small school.", "I sing.")
    replies = [
        "I have two dogs.", "I have two dogs and I sing.", "Oh, I teach chemistry at a school.", "Two dogs live here.",
        "", "I am who I am.", "I TEACH chemistry, at a small one!",
    ]  # fmt: skip
    assert evaluator.evaluate_copying_unprompted([persona] * 7, replies)[:4] == [0.0, 1.0, 0.0, 0.0]
    found = evaluator.evaluate_copying_unprompted([persona] * 7, replies, [(0,)] * 7)
    assert found[:4] == [0.0, 1.0, 0.0, 0.0] and math.isnan(found[4]) and found[5:] == [0.0, 1.0]
    assert evaluator.evaluate_copying_unprompted([persona], replies[:1], [()]) == [1.0]
    assert evaluator.evaluate_copying_unprompted([persona], replies[1:2], [(0, 2)]) == [0.0]


def test_contradictions_are_of_traits_and_of_own_turns():
    evaluator = PersonaEvaluator(judge=RuleJudge())
    history = ("Hi!", "I have never been to Spain.", "I love Spain.", "Do you sing?", "No, I don't sing.")
    replies = ["I don't have dogs.", "I have been to Spain.", "Have you been to Spain?", "I have two dogs.", "", "😀"]
    found = evaluator.evaluate_contradiction([DOGS] * 6, replies, [history] * 6)
    assert found[:4] == [1.0, 1.0, 0.0, 0.0] and all(map(math.isnan, found[4:]))
    assert evaluator.evaluate_contradiction([DOGS] * 2, replies[:2]) == [1.0, 0.0]  # nothing was said before
    assert evaluator.evaluate_contradiction([()], ["I sing."]) == [0.0]  # what was the partner's is no own turn


def test_consistent_is_drawn_on_not_contradicted_not_recited():
    evaluator = PersonaEvaluator(judge=RuleJudge())
    persona = ("I have two dogs.", "I teach chemistry at a small school.")
    replies = [
        "My dogs bark.",
        "I don't have dogs.",
        "I have two dogs. I teach chemistry at a small school.",
        "Hi.",
        "",
    ]
    found = evaluator.evaluate_each([persona] * 5, replies, [("Any pets?",)] * 5, [(0,)] * 5)
    assert found["grounding"] == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert found["same_trait"] == [1.0, 1.0, 1.0, 0.0, 0.0]
    other = evaluator.evaluate_each([persona] * 2, replies[:2], None, [(1,), ()])["same_trait"]
    assert (
        other[0] == 0
        and math.isnan(other[1])
        and math.isnan(evaluator.evaluate_each([persona], ["Hi."])["same_trait"][0])
    )
    assert found["contradiction"][:4] == [0.0, 1.0, 0.0, 0.0] and found["copying_unprompted"][:4] == [
        0.0,
        0.0,
        1.0,
        0.0,
    ]
    assert found["copying"][:4] == [0.0, 0.0, 1.0, 0.0] and math.isnan(found["copying"][4])
    assert evaluator.evaluate_copying([persona], ["Yes, I teach chemistry at a small school."]) == [
        1.0
    ]  # called for or not
    assert found["consistency"] == [1.0, 0.0, 0.0, 0.0, 0.0]  # an empty reply is a reply
    total = evaluator.evaluate_consistency([persona] * 5, replies, None, [("Any pets?",)] * 5, [(0,)] * 5)
    assert total.value == 0.2


@pytest.mark.parametrize("reply", ODD_REPLIES)
def test_odd_replies_draw_on_nothing(reply):
    """An empty reply is a reply, and not consistent."""
    evaluator = PersonaEvaluator()
    assert evaluator.evaluate_batch_responses([DOGS], [reply]) == [0.0]
    assert evaluator.evaluate_grounding([DOGS], [reply]) == [0.0]


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
        evaluator.evaluate_grounding(nothing, ["I have two dogs."] * 3),
    ):
        assert all(map(math.isnan, scores))
    silent = PersonaEvaluator(judge=RuleJudge())
    found = silent.evaluate_consistency([*nothing, DOGS, DOGS], ["My dogs!"] * 4 + ["No."])
    assert found.value == 0.5 and (found.count, found.missing) == (2, 3)
    with pytest.raises(ValueError):
        evaluator.evaluate_batch_responses([DOGS], [])


def test_expression_weighs_how_rare_a_word_is():
    """A keyword that everybody uses is a match, and expresses nothing."""
    matcher, persona = TraitMatcher(["I work a lot."] * 50 + ["The sea."]), ("I work at night as a dredger pilot.",)
    evaluator = PersonaEvaluator(matcher)
    assert evaluator.evaluate_batch_responses([persona], ["Lots of work."]) == [1.0]
    assert evaluator.evaluate_grounding([persona], ["Lots of work."]) == [0.0]
    assert evaluator.evaluate_grounding([persona], ["The dredger sank."]) == [1.0]


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
        strangers([e.persona for e in examples], 0), [e.replies for e in examples]
    )
    assert wrong.value < 0.15


def test_others_are_somebody_else():
    personas = [DOGS, CHEMISTRY, DOGS, ("i have TWO dogs.",), ("I sing.",)] * 20
    found = strangers(personas, 0)
    for own, other in zip(personas, found, strict=True):
        assert other in personas and "".join(other).lower() != "".join(own).lower()
    assert len(set(found)) >= 3 and found == strangers(personas, 0) != strangers(personas, 1)
    traits = ("I have two dogs.", "I sing.")
    assert strangers([traits, traits[::-1]], 0) == [(), ()]  # the same person, in another order
    state = random.getstate()
    strangers(personas, 0)
    assert random.getstate() == state
