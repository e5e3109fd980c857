"""Does a reply draw on the persona? Keyword matching on stems, always to be read beside its reference rows: it pays for
recitation (which scores near 100 %), and even a gold reply matches a random persona now and then."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from selfsame.data.keywords import TraitMatcher, plain_match, trait_stems
from selfsame.eval.statistics import Bootstrap, Estimate
from selfsame.types import Persona


@dataclass(frozen=True)
class PersonaEvaluator:
    """Scores replies against personas. An empty reply draws on nothing and scores 0; a persona without any content word
    cannot be drawn on: NaN.

    Args:
        matcher: knows how rare each stem is; without one every stem weighs the same.
        bootstrap: how intervals are made.
    """

    matcher: TraitMatcher = field(default_factory=TraitMatcher)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    def evaluate_batch_responses(self, personas: Sequence[Persona], responses: Sequence[str]) -> list[float]:
        """1 where a content stem of the persona occurs in the reply, else 0; NaN where the persona has none."""
        pairs = zip(personas, responses, strict=True)
        return [float(plain_match(p, r)) if _scorable(p) else math.nan for p, r in pairs]

    def evaluate_expression(self, personas: Sequence[Persona], responses: Sequence[str]) -> list[float]:
        """1 where the reply draws on a trait by rarity-weighted matching (see `TraitMatcher`), else 0; NaN as above."""
        pairs = zip(personas, responses, strict=True)
        return [float(bool(self.matcher.drawn(p, r))) if _scorable(p) else math.nan for p, r in pairs]

    def evaluate_consistency(
        self, personas: Sequence[Persona], responses: Sequence[str], groups: Sequence[Hashable] | None = None
    ) -> Estimate:
        """Share of replies in which a keyword of the persona occurs. `groups`: the dialogue of each reply."""
        return self.bootstrap.share(self.evaluate_batch_responses(personas, responses), groups)

    def compute_multi_turn_consistency(
        self, personas: Sequence[Persona], dialogues: Sequence[Sequence[str]]
    ) -> Estimate:
        """Mean over dialogues of the share of the persona's traits that some own turn draws on, among the traits with a
        content word. `dialogues`: own turns."""
        return self.bootstrap.share([self._coverage(p, turns) for p, turns in zip(personas, dialogues, strict=True)])

    def _coverage(self, persona: Persona, turns: Sequence[str]) -> float:
        traits = _scorable(persona)
        if not traits or not turns:
            return math.nan
        return len({i for turn in turns for i in self.matcher.drawn(traits, turn)}) / len(traits)


def _scorable(persona: Persona) -> list[str]:
    """The traits with a content word."""
    return [trait for trait in persona if trait_stems(trait)]
