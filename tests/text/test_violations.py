"""What rules find wrong with a reply."""

from __future__ import annotations

import pytest

from selfsame.text.keywords import TraitMatcher
from selfsame.text.violations import VIOLATIONS, find_violations, repeats, stutters
from selfsame.types import Prompt

PERSONA = ("I have two dogs.", "I teach chemistry at a school.", "I am married.")


@pytest.mark.parametrize(
    ("reply", "gold_traits", "violations"),
    [
        ("I have two dogs.", (0,), set()),
        ("I have two dogs.", (1,), {"copying_unprompted"}),  # of another trait than was called for
        ("I sing.", (0, 1), {"ungrounded"}),
        ("I sing.", (), set()),
        ("A school? I teach chemistry.", (), {"off_topic_grounding"}),
        ("I sing.", None, set()),
        ("I have two dogs.", None, set()),
        ("I have two dogs and I teach chemistry at a school.", None, {"copying_unprompted"}),
        ("I have two dogs and I teach chemistry at a school.", (0, 1), set()),
        ("I have three dogs.", (0,), {"contradiction"}),
        ("I don't have two dogs.", (0,), set()),  # rules alone are too often wrong about negations
        ("I am single.", (2,), {"contradiction", "ungrounded"}),
        ("Are you single?", (), set()),
        ("I like tea a lot, really.", (), {"repetition", "nothing_new"}),
        ("And a lot of tea is what I really like, with milk.", (), set()),
        ("Tea, tea!", (), {"nothing_new"}),
        ("Tell me more.", (), set()),
        ("We like to sing and we like to dance.", (), {"repetition"}),
        ("", (0,), {"ungrounded"}),
        ("😀!!!", None, set()),
    ],
)
def test_each_rule(reply, gold_traits, violations):
    found = find_violations(TraitMatcher(), Prompt(PERSONA, ("Hi!", "I like tea a lot.", "And?")), reply, gold_traits)
    assert tuple(found) == VIOLATIONS
    assert {name for name, there in found.items() if there} == violations


def test_a_reply_is_held_against_own_turns_too():
    prompt = Prompt((), ("Any pets?", "I have two cats.", "Really?"))
    assert find_violations(TraitMatcher(), prompt, "I have three cats.")["contradiction"]
    assert not find_violations(TraitMatcher(), Prompt((), ("I have two cats.",)), "I have three cats.")[
        "contradiction"
    ]  # the partner's


def test_repeats_is_about_order_and_stutters_about_runs():
    assert repeats(["I like tea a lot."], "I like tea a lot, yes") and not repeats(
        ["lot a tea like I"], "I like tea a lot"
    )
    assert not repeats([], "I like tea") and not repeats(["I like tea"], "")
    assert stutters("skating, skating, and skating") and not stutters("skating and more skating")
    assert stutters("go to the go to the") and not stutters("go to the one that goes to the other")
