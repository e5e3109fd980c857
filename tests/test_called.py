"""What a prompt calls for, where the matcher and the notes in the data do not agree."""

from __future__ import annotations

import pytest

from selfsame.data.generator import TestItem
from selfsame.data.keywords import TraitMatcher
from selfsame.stage_inputs import called_traits
from selfsame.types import Prompt


@pytest.mark.parametrize(
    ("reply", "noted", "called"),
    [("I have two dogs.", (0,), (0,)), ("I have two dogs.", (), (0,)), ("My pups!", (0,), None), ("Hello.", (), ())],
)
def test_what_the_matcher_does_not_see_but_the_data_says_is_not_known(reply, noted, called):
    item = TestItem(Prompt(("I have two dogs.",), ("Any pets?",)), reply, noted, "d", ())
    found = called_traits(TraitMatcher(), item)
    assert found == called if called is None else tuple(found) == called
