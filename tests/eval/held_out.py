"""What the tests of evaluation share: the bundled held-out personas, and short dialogues that fit into a tiny model."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from selfsame.data.loader import DatasetLoader
from selfsame.data.pairs import PreferenceGenerator
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.text.contradictions import RuleJudge
from selfsame.text.keywords import TraitMatcher
from selfsame.types import Answer, Dialogue, Example, Turn

PERSONA_METRICS = [
    "consistency",
    "grounding",
    "same_trait",
    "contradiction",
    "copying_unprompted",
    "copying",
    "keywords",
]
"""What `PersonaEvaluator.evaluate_each` says of a reply."""

THINGS = ("dogs", "cats", "horses", "boats", "guitars", "bees", "roses", "clocks", "stamps", "maps", "kites", "drums")
ODD_REPLIES = (
    "",
    "   ",
    "😀😀",
    "?!",
    "Привет, как дела?",
    "我有两只狗。",
    "مرحبا",
    "word " * 10_000,
    "ha" * 5_000,
    "[SEP] \\ \x00",
)
"""What a model may say when it is not well."""


@lru_cache
def demo_examples() -> tuple[Example, ...]:
    """The sides of the bundled dialogues whose persona is held out."""
    return tuple(DatasetLoader().load().validation)


@lru_cache
def demo_items() -> tuple[tuple[Answer, ...], tuple[Answer, ...]]:
    """The consistency and the engagement set of the bundled dialogues."""
    tests = PreferenceGenerator(demo_examples(), seed=1).create_test_sets()
    return tuple(tests.consistency), tuple(tests.engagement)


@lru_cache
def demo_persona_evaluator() -> PersonaEvaluator:
    matcher = TraitMatcher([text for e in demo_examples() for text in (*e.persona, *e.turns)])
    return PersonaEvaluator(matcher, judge=RuleJudge())


def short_examples(count: int = len(THINGS)) -> list[Example]:
    """Dialogues with somebody who has two of something, of four own turns, the second of which says so."""
    made = []
    for k, thing in enumerate(THINGS[:count]):
        texts = ("Hello!", "Hi.", f"What {k}?", f"I have two {thing}.", "I see.", "Bye.", "Bye?", "Yes.")
        turns = tuple(Turn(1 + i % 2, text, (0,) if thing in text else ()) for i, text in enumerate(texts))
        made.append(Dialogue(f"d{k}", (("I ask.",), (f"I have two {thing}.",)), turns).seen_by(2))
    return made


def numpy_state() -> list[int]:
    """The state of numpy's global random numbers, which nothing here may touch."""
    return np.random.get_state(legacy=False)["state"]["key"].tolist()
