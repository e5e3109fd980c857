"""What a prompt calls for, where the matcher and the notes in the data do not agree."""

from __future__ import annotations

import pytest

from selfsame.stage_inputs import gold_traits_of
from selfsame.text.keywords import TraitMatcher
from selfsame.types import Answer, Prompt


@pytest.mark.parametrize(
    ("reply", "noted", "gold_traits"),
    [("I have two dogs.", (0,), (0,)), ("I have two dogs.", (), (0,)), ("My pups!", (0,), None), ("Hello.", (), ())],
)
def test_what_the_matcher_does_not_see_but_the_data_says_is_not_known(reply, noted, gold_traits):
    item = Answer(Prompt(("I have two dogs.",), ("Any pets?",)), reply, reply, noted, "d")
    found = gold_traits_of(TraitMatcher(), item)
    assert found == gold_traits if gold_traits is None else tuple(found) == gold_traits
