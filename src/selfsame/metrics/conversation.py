"""Measures of one side of a whole conversation between two people with a persona each.

Each has an interval over dialogues. T is the number of the bot's turns, which are numbered from 1:

- `coverage`: the share of the bot's traits that at least one of its turns uses.
- `contradiction`: the share of the bot's turns that contradict a trait or one of its last turns, by the judge.
- `drift`: contradictions in the bot's last floor(T / 3) turns less those in its first floor(T / 3), in the same dialogue.
  Here the traits alone count: a late turn has more of the bot's turns before it to contradict.
- `mistaken_identity`: the share of the bot's turns with a statement that claim the partner's life. Sentences in the first
  person, without "you", use a trait of the partner's, and the turn uses none of the bot's. Words of the partner's last turn
  do not count, for an answer takes them up; so it is a lower bound. English words tell first from second person: in other
  languages it is missing.
- `repetition`: the share of the bot's turns from the second on that repeat an earlier one nearly word for word.
- `same_fact_again`: the partner asks the same question about one trait before the bot's turns 2 and T - 1. It is the share
  of dialogues in which both answers use the trait and the second does not contradict the first. Only the part of the trait
  that the question leaves out counts, so an echo earns nothing. With it come `same_fact_contradicted` and how many answers
  use the trait (`same_fact_in_both`, `_in_one`, `_in_none`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.statistics import Estimate
from selfsame.text.keywords import TraitMatcher, content_stems, is_question, sentences, trait_stems, words
from selfsame.text.language import ENGLISH
from selfsame.text.violations import repeats
from selfsame.types import Persona

_MINE = frozenset("i im ive me my mine myself we us our ours ourselves".split())  # noqa: SIM905
_YOURS = frozenset("you youre youve your yours yourself yourselves".split())  # noqa: SIM905
Scores = dict[str, list[list[float]]]
"""By metric and dialogue: the score of the dialogue, or one for each of its own turns."""


@dataclass(frozen=True)
class Talk:
    """A dialogue to measure: `turns` alternate, the partner first. `asked`: the two own turns, numbered from 0, that answer
    the same `question` about own trait `trait` (empty: none)."""

    dialogue: str
    persona: Persona
    partner: Persona
    turns: tuple[str, ...]
    asked: tuple[int, ...] = ()
    trait: int = 0
    question: str = ""

    @property
    def own(self) -> tuple[str, ...]:
        return self.turns[1::2]


def score_talks(evaluator: PersonaEvaluator, talks: Sequence[Talk]) -> Scores:
    """Every measure that the dialogues allow; `same_fact_*` where a question was asked in any of them."""
    scores = {
        "coverage": [[evaluator.coverage(talk.persona, talk.own)] for talk in talks],
        "contradiction": _contradictions(evaluator, talks, with_own_turns=True),
        "drift": [[drift(found)] for found in _contradictions(evaluator, talks, with_own_turns=False)],
        "mistaken_identity": [mistaken(evaluator.matcher, talk) for talk in talks],
        "repetition": [repetitions(talk.own, talk.asked[1:]) for talk in talks],
    }
    if not any(talk.asked for talk in talks):
        return scores
    facts = [_same_fact(evaluator, talk) for talk in talks]
    return scores | {name: [[fact[name]] for fact in facts] for name in facts[0]}


def _contradictions(evaluator: PersonaEvaluator, talks: Sequence[Talk], with_own_turns: bool) -> list[list[float]]:
    """Of each own turn, held against the traits, and against the own turns before it where asked for."""
    personas = [talk.persona for talk in talks for _ in talk.own]
    replies = [reply for talk in talks for reply in talk.own]
    before = [talk.turns[: 2 * k + 1] for talk in talks for k in range(len(talk.own))]
    found = iter(evaluator.evaluate_contradiction(personas, replies, before if with_own_turns else None))
    return [[next(found) for _ in talk.own] for talk in talks]


def drift(scores: Sequence[float]) -> float:
    """Mean of the last third of the turns less mean of the first third; NaN where one of them has no score."""
    third = len(scores) // 3
    return mean_of_known(scores[len(scores) - third :]) - mean_of_known(scores[:third])


def mistaken(matcher: TraitMatcher, talk: Talk) -> list[float]:
    """`is_mistaken` of each own turn."""
    return [
        is_mistaken(matcher, talk.persona, talk.partner, heard, said)
        for heard, said in zip(talk.turns[::2], talk.own, strict=True)
    ]


def is_mistaken(matcher: TraitMatcher, persona: Persona, partner: Persona, heard: str, said: str) -> float:
    """1 where `said` claims the partner's life (see the module), else 0; NaN where it says nothing or only asks, and for a
    partner of whom nothing is known. `heard`: the partner's last turn."""
    statements = [part for part in sentences(said) if not is_question(part) and words(part)]
    if matcher.language != ENGLISH or not statements or not any(map(trait_stems, partner)):
        return math.nan
    claimed = {stem for part in statements if _is_about_me(part) for stem in content_stems(part)}
    claimed -= set(content_stems(heard))
    theirs = any(matcher.stems_match(trait_stems(trait), claimed) for trait in partner)
    return float(theirs and not matcher.drawn(persona, said))


def _is_about_me(sentence: str) -> bool:
    found = {part for word in words(sentence) for part in (word.partition("'")[0], word.replace("'", ""))}
    return not _MINE.isdisjoint(found) and _YOURS.isdisjoint(found)


def repetitions(turns: Sequence[str], leave_out: Sequence[int] = ()) -> list[float]:
    """For each turn from the second on: 1 where it is nearly the same as an earlier one, word for word, else 0; NaN for a
    turn without a word. `leave_out`: turns that may repeat, such as the second answer to the same question."""
    return [
        float(repeats(turns[:k], turns[k])) if words(turns[k]) else math.nan
        for k in range(1, len(turns))
        if k not in leave_out
    ]


def _same_fact(evaluator: PersonaEvaluator, talk: Talk) -> dict[str, float]:
    """NaN where nothing was asked or an answer has no word."""
    answers = [talk.own[k] for k in talk.asked]
    if not answers or not all(map(words, answers)):
        return dict.fromkeys(
            (f"same_fact_{n}" for n in ("again", "contradicted", "in_both", "in_one", "in_none")), math.nan
        )
    (contradicted,) = evaluator.evaluate_contradiction([()], answers[1:], [("", answers[0], "")])
    matcher = evaluator.matcher
    trait = matcher.trait_stems(talk.persona[talk.trait]) - set(matcher.stems(talk.question))
    drawn = sum(matcher.stems_match(trait, matcher.statement_stems(text)) for text in answers)
    return {
        "same_fact_again": float(drawn == 2 and not contradicted),
        "same_fact_contradicted": contradicted,
        "same_fact_in_both": float(drawn == 2),
        "same_fact_in_one": float(drawn == 1),
        "same_fact_in_none": float(drawn == 0),
    }


def estimates(evaluator: PersonaEvaluator, scores: Scores) -> dict[str, dict[str, Any]]:
    """Each measure over all dialogues, with its interval, as `{value, low, high, count, missing}`."""
    return {name: _estimate(evaluator, name, dialogues).to_dict() for name, dialogues in scores.items()}


def _estimate(evaluator: PersonaEvaluator, name: str, dialogues: Sequence[Sequence[float]]) -> Estimate:
    values = [score for scores in dialogues for score in scores]
    groups = [k for k, scores in enumerate(dialogues) for _ in scores]
    if name != "drift":
        return evaluator.bootstrap.share(values, groups)
    found = evaluator.bootstrap.mean(values, groups)
    if any(score for score in values if not math.isnan(score)):
        return found
    # Where nothing drifts resampling would claim to be certain: |drift| is 1 at most, in at most this share of dialogues.
    margin = evaluator.bootstrap.share([abs(score) for score in values], groups).high
    return replace(found, low=-margin, high=margin)


def mean_of_known(scores: Iterable[float]) -> float:
    """NaN where none is known."""
    known = [score for score in scores if not math.isnan(score)]
    return sum(known) / len(known) if known else math.nan
