"""Engagement of a reply: the mean of four surface features, each in [0, 1].

It is not fitted to human ratings: it compares systems of one run and claims nothing about people.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from selfsame.metrics.statistics import Bootstrap, Estimate
from selfsame.text.keywords import content_stems
from selfsame.text.language import ENGLISH

ENOUGH_CONTENT = 6  # different content words from which on a reply counts as fully informative
QUESTION_MARKS = frozenset("?？؟")


@dataclass(frozen=True)
class EngagementEvaluator:
    """Scores replies in their context. `bootstrap`: how intervals are made; `language`: code of the replies' language."""

    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    language: str = ENGLISH

    def features(self, context: Sequence[str], response: str) -> dict[str, float]:
        """`informative`: different content words, up to six; `question`: asks one; `uptake`: takes up a content word of
        the partner's last turn; `fresh`: share of content words not said before, in the context or in the reply itself."""
        stems = content_stems(response, self.language)
        different = set(stems)
        last = set(content_stems(context[-1], self.language)) if context else set()
        said = {stem for turn in context for stem in content_stems(turn, self.language)}
        return {
            "informative": min(1.0, len(different) / ENOUGH_CONTENT),
            "question": float(not QUESTION_MARKS.isdisjoint(response)),
            "uptake": float(bool(last & different)),
            "fresh": len(different - said) / len(stems) if stems else 0.0,
        }

    def calculate_engagement_score(self, context: Sequence[str], response: str) -> float:
        """Mean of the features; NaN for a reply without any word."""
        if not any(character.isalnum() for character in response):
            return math.nan
        found = self.features(context, response)
        return sum(found.values()) / len(found)

    def evaluate_engagement(
        self, contexts: Sequence[Sequence[str]], responses: Sequence[str], groups: Sequence[Hashable] | None = None
    ) -> Estimate:
        """Mean score of replies. `groups`: the dialogue of each."""
        scores = [self.calculate_engagement_score(c, r) for c, r in zip(contexts, responses, strict=True)]
        return self.bootstrap.share(scores, groups)

    def evaluate_multi_turn_engagement(self, dialogues: Sequence[Sequence[str]]) -> Estimate:
        """Mean over dialogues (alternating turns, the partner first) of the mean score of the own turns."""
        return self.bootstrap.share([self._dialogue_score(turns) for turns in dialogues])

    def _dialogue_score(self, turns: Sequence[str]) -> float:
        scores = [self.calculate_engagement_score(turns[:k], turns[k]) for k in range(1, len(turns), 2)]
        known = [s for s in scores if not math.isnan(s)]
        return sum(known) / len(known) if known else math.nan
