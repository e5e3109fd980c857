"""The headline score *in character*, over a natural mix of turns.

A reply in character is right both ways: it uses the persona where the person's reply did and leaves it alone elsewhere. It
contradicts and recites nothing, is well formed and answers. One-sided numbers cannot see a bot that speaks of itself all the
time, nor one whose replies are no sentences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.sense import SenseEvaluator
from selfsame.types import Answer

PARTS = ("in_character", "in_character_grounded", "in_character_other", "well_formed", "answers")


def evaluate_character(
    persona: PersonaEvaluator, sense: SenseEvaluator, answers: Sequence[Answer]
) -> dict[str, list[float]]:
    """The scores `PARTS` of answers to turns anywhere in dialogues, 1 or 0 each; NaN where one cannot be said.
    `in_character_grounded` is that of the prompts whose gold reply draws on the persona, `in_character_other` of the rest."""
    personas, replies = [a.persona for a in answers], [a.reply for a in answers]
    histories = [a.history for a in answers]
    draws = persona.evaluate_grounding(personas, replies)
    # A judge that does not know the language says nothing: the other parts are held against a reply all the same.
    judged = persona.judged
    contradicts = persona.evaluate_contradiction(personas, replies, histories) if judged else [0.0] * len(replies)
    copies_unprompted = persona.evaluate_copying_unprompted(personas, replies, [a.gold_traits for a in answers])
    sound = sense.evaluate(histories, replies)
    gold_traits = [bool(a.gold_traits) for a in answers]
    rows = zip(gold_traits, draws, contradicts, copies_unprompted, sound["well_formed"], sound["answers"], strict=True)
    right = [_right(*row) for row in rows]
    return {
        "in_character": right,
        "in_character_grounded": [
            value if asked else math.nan for value, asked in zip(right, gold_traits, strict=True)
        ],
        "in_character_other": [math.nan if asked else value for value, asked in zip(right, gold_traits, strict=True)],
        **sound,
    }


def all_of(*values: float) -> float:
    """1 where all of these scores are 1, 0 where one is 0, else NaN."""
    return 0.0 if 0.0 in values else math.nan if any(map(math.isnan, values)) else 1.0


def _right(
    gold_traits: bool, draws: float, contradicts: float, copies_unprompted: float, formed: float, answers: float
) -> float:
    """One fault is enough to be wrong, whatever is not known; without one, all has to be known."""
    as_people = math.nan if math.isnan(draws) else float(draws == float(gold_traits))
    return all_of(as_people, 1 - contradicts, 1 - copies_unprompted, formed, answers)
