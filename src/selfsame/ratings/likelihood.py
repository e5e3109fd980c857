"""Likelihood of a reply after its dialogue, and the gain from context and persona.

The model is the base alone, without an adapter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from selfsame.metrics.hits import BenchmarkEvaluator, fits
from selfsame.metrics.quality import score_replies
from selfsame.model.roles import Roles
from selfsame.ratings.rows import RatedReply
from selfsame.ratings.scorers import Scorer, mean_of_known
from selfsame.types import Example, Persona, Prompt

SIBLINGS = 16  # replies that share one empty prompt


def prompt_of(persona: Persona, context: Sequence[str]) -> Prompt:
    """What stood before a reply; the context ends with the partner's turn."""
    return Prompt(persona, tuple(context) if len(context) % 2 else ("", *context))


@dataclass
class Likelihood:
    """Mean log-probability per token (nats, end token included) of replies under a base model. An empty reply has none: NaN;
    so has one whose persona is too long for the model. Of a very long reply only the beginning counts (see
    `BenchmarkEvaluator.rank`); of a whole dialogue the mean over the bot's turns."""

    roles: Roles
    role: str | None = None
    token_budget: int = 1024
    _known: dict[tuple[object, ...], list[float]] = field(default_factory=dict, repr=False)

    def given_all(self, rows: Sequence[RatedReply]) -> list[float]:
        """Given persona and context; NaN for a row without a persona."""
        known = [bool(row.persona) for row in rows]
        found = iter(self._measure("all", [row for row, keep in zip(rows, known, strict=True) if keep]))
        return [next(found) if keep else math.nan for keep in known]

    def given_context(self, rows: Sequence[RatedReply]) -> list[float]:
        """Given the context and no persona."""
        return self._measure("context", rows)

    def alone(self, rows: Sequence[RatedReply]) -> list[float]:
        """Given nothing."""
        return self._measure("nothing", rows)

    def context_lift(self, rows: Sequence[RatedReply]) -> list[float]:
        """How much the context adds; NaN where there is none."""
        lifts = _difference(self.given_context(rows), self.alone(rows))
        return [lift if any(row.context) else math.nan for lift, row in zip(lifts, rows, strict=True)]

    def persona_lift(self, rows: Sequence[RatedReply]) -> list[float]:
        """How much the persona adds, after the context."""
        return _difference(self.given_all(rows), self.given_context(rows))

    def scorers(self) -> list[Scorer]:
        """All of the above."""
        return [
            _Measured("likelihood, all given", self.given_all),
            _Measured("likelihood, context given", self.given_context),
            _Measured("likelihood alone", self.alone),
            _Measured("likelihood, context adds", self.context_lift),
            _Measured("likelihood, persona adds", self.persona_lift),
        ]

    def _measure(self, given: str, rows: Sequence[RatedReply]) -> list[float]:
        """Measured once for the same rows."""
        key = given, *((row.persona if given == "all" else (), row.context, row.reply) for row in rows)
        if key not in self._known:
            single = [row for row in rows if row.reply is not None]
            whole = [row for row in rows if row.reply is None]
            one, other = iter(self._replies(given, single)), iter(self._dialogues(given, whole))
            self._known[key] = [next(other if row.reply is None else one) for row in rows]
        return self._known[key]

    def _replies(self, given: str, rows: Sequence[RatedReply]) -> list[float]:
        """Replies to the same prompt share it."""
        found = [math.nan] * len(rows)
        together: dict[tuple[Prompt, int], list[int]] = {}
        for i, row in enumerate(rows):
            persona = row.persona if given == "all" else ()
            prompt = prompt_of(persona, row.context) if given != "nothing" else Prompt(())
            if row.reply and fits(self.roles, prompt):
                place = i // SIBLINGS if given == "nothing" else 0
                together.setdefault((prompt, place), []).append(i)
        candidates = [[rows[i].reply or "" for i in group] for group in together.values()]
        prompts = [prompt for prompt, _ in together]
        ranked = BenchmarkEvaluator().rank(self.roles, self.role, prompts, candidates, self.token_budget)
        for group, values in zip(together.values(), ranked, strict=True):
            for i, value in zip(group, values, strict=True):
                found[i] = value
        return found

    def _dialogues(self, given: str, rows: Sequence[RatedReply]) -> list[float]:
        """A dialogue is one pass, whatever the number of its turns."""
        if given == "nothing":
            turns = [row.own_turns() for row in rows]
            values = iter(self._replies(given, [turn for own in turns for turn in own]))
            return [mean_of_known([next(values) for _ in own]) for own in turns]
        scored: list[list[float]] = [[] for _ in rows]
        examples = [self._example(given, k, row) for k, row in enumerate(rows)]
        for reply in score_replies(self.roles, self.role, examples, self.token_budget):
            if reply.text:
                scored[int(reply.dialogue)].append(-reply.loss / reply.tokens)
        return [mean_of_known(values) for values in scored]

    @staticmethod
    def _example(given: str, number: int, row: RatedReply) -> Example:
        turns = row.context[: len(row.context) // 2 * 2]
        persona = row.persona if given == "all" else ()
        return Example(f"{number}/2", persona, (), turns, (None,) * (len(turns) // 2))


@dataclass(frozen=True)
class _Measured:
    name: str
    of_rows: Callable[[Sequence[RatedReply]], list[float]]

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        return self.of_rows(rows)


def _difference(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]
