"""What a prompt calls for, where the matcher and the notes in the data do not agree."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from selfsame.data.generator import TestItem
from selfsame.data.keywords import TraitMatcher
from selfsame.pipeline import _Pipeline
from selfsame.types import Prompt


@pytest.mark.parametrize(
    ("reply", "noted", "called"),
    [("I have two dogs.", (0,), (0,)), ("I have two dogs.", (), (0,)), ("My pups!", (0,), None), ("Hello.", (), ())],
)
def test_what_the_matcher_does_not_see_but_the_data_says_is_not_known(reply, noted, called):
    pipeline = object.__new__(_Pipeline)
    pipeline.train_pairs = SimpleNamespace(matcher=TraitMatcher())  # type: ignore[assignment]
    item = TestItem(Prompt(("I have two dogs.",), ("Any pets?",)), reply, noted, "d", ())
    found = pipeline._called(item)
    assert found == called if called is None else tuple(found) == called
