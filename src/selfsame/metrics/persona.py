"""Scores of keeping to the persona: three numbers, never one.

*Grounding*: the reply uses a trait where the gold reply does. *Contradiction*: it contradicts a trait or an earlier turn of
the bot. *Copying unprompted*: it copies traits that nobody asked for. A reply is consistent if it uses the persona,
contradicts nothing and copies nothing unprompted.

Grounding is matched by words, so its reference rows belong with it: it pays for recitation, and even a gold reply matches a
random persona now and then. A contradiction is what the judge says, so its accuracy on held-out pairs belongs with the number
(`metrics/judge.py`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from selfsame.metrics.judge import Judge, load_judge
from selfsame.metrics.statistics import Bootstrap, Estimate
from selfsame.text.keywords import TraitMatcher, plain_match, words
from selfsame.text.language import ENGLISH
from selfsame.text.violations import claims, copied_traits, copies_unprompted
from selfsame.types import Persona

Called = Sequence[Sequence[int] | None] | None
"""For each reply the indices of the traits that its prompt calls for, None where that is not known."""


@dataclass(frozen=True)
class PersonaEvaluator:
    """Scores replies against personas. An empty reply draws on nothing and scores 0; a persona without any content word
    cannot be drawn on: NaN.

    Args:
        matcher: knows how rare each stem is; without one every stem weighs the same.
        bootstrap: how intervals are made.
        judge: of contradictions; None: the one in the package.
    """

    matcher: TraitMatcher = field(default_factory=TraitMatcher)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    judge: Judge | None = None

    @property
    def judged(self) -> bool:
        """Whether the judge knows the language of the replies. Where it does not, contradictions are missing, and the scores
        that hold one against a reply do without."""
        spoken = self.judge.language if self.judge is not None else ENGLISH
        return spoken in (None, self.matcher.language)

    def evaluate_batch_responses(self, personas: Sequence[Persona], responses: Sequence[str]) -> list[float]:
        """Plain keyword matching: 1 where a content stem of the persona occurs in the reply, else 0; NaN where the persona
        has none."""
        pairs = zip(personas, responses, strict=True)
        language = self.matcher.language
        return [float(plain_match(p, r, language)) if self._scorable(p) else math.nan for p, r in pairs]

    def evaluate_grounding(self, personas: Sequence[Persona], responses: Sequence[str]) -> list[float]:
        """1 where the reply draws on a trait by rarity-weighted matching (see `TraitMatcher`), else 0; NaN as above."""
        pairs = zip(personas, responses, strict=True)
        return [float(bool(self.matcher.drawn(p, r))) if self._scorable(p) else math.nan for p, r in pairs]

    def evaluate_contradiction(
        self,
        personas: Sequence[Persona],
        responses: Sequence[str],
        histories: Sequence[Sequence[str]] | None = None,
    ) -> list[float]:
        """1 where what the reply claims is at odds with a trait, or with one of the last `REMEMBERED` own turns, else 0 (also
        for a reply that only asks); NaN for a reply without a word, and where the judge does not know the language.
        `histories`: what was said before each reply, the partner's turn last."""
        if not self.judged:
            return [math.nan] * len(responses)
        found = self.find_contradictions(personas, responses, histories)
        return [
            float(bool(at_odds)) if words(reply) else math.nan for at_odds, reply in zip(found, responses, strict=True)
        ]

    def find_contradictions(
        self,
        personas: Sequence[Persona],
        responses: Sequence[str],
        histories: Sequence[Sequence[str]] | None = None,
    ) -> list[list[str]]:
        """What each reply is at odds with, as in `evaluate_contradiction`: traits, and own turns without their questions."""
        if not self.judged:
            return [[] for _ in responses]
        judge = self.judge or load_judge()
        before = histories if histories is not None else [("",)] * len(responses)
        pairs = [claims(p, h, r) for p, h, r in zip(personas, before, responses, strict=True)]
        said_M = judge.probabilities([pair for own in pairs for pair in own])[:, 0] >= judge.threshold
        answers = iter(said_M.tolist())
        return [[premise for premise, _ in own if next(answers)] for own in pairs]

    def evaluate_copying_unprompted(
        self,
        personas: Sequence[Persona],
        responses: Sequence[str],
        gold_traits: Called = None,
    ) -> list[float]:
        """1 where the reply copies the wording of two traits or more, or of one that was not called for, else 0; NaN for a
        reply without a word. `gold_traits`: for each reply the indices of the traits that the gold reply draws on, all of which
        may be copied; where it is not given, or None for a reply, one trait may be."""
        found = []
        for k, (persona, reply) in enumerate(zip(personas, responses, strict=True)):
            copied = copies_unprompted(persona, reply, gold_traits[k] if gold_traits is not None else None)
            found.append(float(copied) if words(reply) else math.nan)
        return found

    def evaluate_copying(self, personas: Sequence[Persona], responses: Sequence[str]) -> list[float]:
        """1 where the reply has the wording of some trait, called for or not, else 0; NaN for a reply without a word. People
        do so now and then: it is to be read beside what the gold replies have."""
        pairs = zip(personas, responses, strict=True)
        return [float(bool(copied_traits(p, r))) if words(r) else math.nan for p, r in pairs]

    def evaluate_each(
        self,
        personas: Sequence[Persona],
        responses: Sequence[str],
        histories: Sequence[Sequence[str]] | None = None,
        gold_traits: Called = None,
    ) -> dict[str, list[float]]:
        """Of each reply `consistency`, `grounding`, `same_trait` (draws on a trait in `gold_traits`; NaN without one),
        `contradiction`, `copying_unprompted`, `copying` and `keywords` (plain matching). A reply is consistent (1) where it
        draws on the persona, contradicts nothing and copies nothing unprompted."""
        found = {
            "grounding": self.evaluate_grounding(personas, responses),
            "same_trait": self._same_trait(personas, responses, gold_traits),
            "contradiction": self.evaluate_contradiction(personas, responses, histories),
            # Recitation looks like grounding. Measured on PersonaGym: .60 of answers are grounded, .56 recite.
            "copying_unprompted": self.evaluate_copying_unprompted(personas, responses, gold_traits),
            "copying": self.evaluate_copying(personas, responses),
            "keywords": self.evaluate_batch_responses(personas, responses),
        }
        contradiction = found["contradiction"] if self.judged else [0.0] * len(responses)
        rows = zip(found["grounding"], contradiction, found["copying_unprompted"], strict=True)
        return {"consistency": [_consistent(*row) for row in rows], **found}

    def evaluate_consistency(
        self,
        personas: Sequence[Persona],
        responses: Sequence[str],
        groups: Sequence[Hashable] | None = None,
        histories: Sequence[Sequence[str]] | None = None,
        gold_traits: Called = None,
    ) -> Estimate:
        """Share of the replies that are consistent, of replies to prompts that call for the persona. `groups`: the dialogue
        of each reply; `histories`, `gold_traits`: see `evaluate_contradiction` and `evaluate_copying_unprompted`."""
        return self.bootstrap.share(
            self.evaluate_each(personas, responses, histories, gold_traits)["consistency"], groups
        )

    def compute_multi_turn_consistency(
        self, personas: Sequence[Persona], dialogues: Sequence[Sequence[str]]
    ) -> Estimate:
        """Mean over dialogues of the share of the persona's traits that some own turn draws on, among the traits with a
        content word. `dialogues`: own turns."""
        return self.bootstrap.share([self.coverage(p, turns) for p, turns in zip(personas, dialogues, strict=True)])

    def _same_trait(self, personas: Sequence[Persona], responses: Sequence[str], gold_traits: Called) -> list[float]:
        found = []
        for persona, reply, traits in zip(personas, responses, gold_traits or [None] * len(responses), strict=True):
            found.append(float(not set(traits).isdisjoint(self.matcher.drawn(persona, reply))) if traits else math.nan)
        return found

    def coverage(self, persona: Persona, turns: Sequence[str]) -> float:
        """Share of the traits with a content word that some turn draws on; NaN without a trait or a turn."""
        traits = self._scorable(persona)
        if not traits or not turns:
            return math.nan
        return len({i for turn in turns for i in self.matcher.drawn(traits, turn)}) / len(traits)

    def _scorable(self, persona: Persona) -> list[str]:
        """The traits with a content word."""
        return [trait for trait in persona if self.matcher.trait_stems(trait)]


def _consistent(grounding: float, contradiction: float, copying_unprompted: float) -> float:
    if grounding != 1.0:
        return grounding
    return math.nan if math.isnan(contradiction) else float(not contradiction and not copying_unprompted)
