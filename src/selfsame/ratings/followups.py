"""Likelihoods of what the partner might say next: the likelier a complaint, the worse the reply.

Sources: De Bruyn et al. 2022, arXiv:2209.05185; Mehri & Eskenazi 2020, arXiv:2006.12719. The model is the base alone, without
an adapter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from selfsame.metrics.hits import BenchmarkEvaluator, fits
from selfsame.model.load import load_roles
from selfsame.model.named import is_ready
from selfsame.model.roles import Roles
from selfsame.model.settings import ModelSettings
from selfsame.ratings.rows import RatedReply
from selfsame.ratings.scorers import Scorer
from selfsame.types import Prompt

BASE = "smollm2-135m"
"""The base that the weights of *overall* were fitted with."""
COMPLAINTS = {
    "irrelevant": "Not really relevant here.",
    "confusing": "You're really confusing.",
    "boring": "You're really boring.",
    "unclear": "What are you trying to say?",
    "uninterested": "You don't seem interested.",
    "repetitive": "You already said that.",
}
"""What the partner might say next, by the fault it points at."""
TURNS = 5
"""Turns that the model is shown, the bot's last one among them."""
RESERVE = 24
"""Tokens that a complaint may have."""


@dataclass
class FollowUps:
    """How likely each complaint is after a reply, or at the end of a dialogue. It remembers whole questions, never single
    replies: the last digits depend on the batch, and an answer must not depend on what was asked before.

    Attributes:
        roles: the model; its base is asked, whatever roles it has.
        token_budget: tokens of a batch.
    """

    roles: Roles
    token_budget: int = 4096
    _known: dict[tuple[tuple[str, ...], ...], list[list[float]]] = field(default_factory=dict, repr=False)

    def likelihoods(self, rows: Sequence[RatedReply]) -> list[list[float]]:
        """Per row the mean log-probability per token (nats) of each of `COMPLAINTS`; NaN where nothing was said."""
        turns = tuple(_last_turns(row) for row in rows)
        if turns not in self._known:
            self._known[turns] = self._ask(turns)
        return self._known[turns]

    def _ask(self, turns: Sequence[tuple[str, ...]]) -> list[list[float]]:
        prompts = {key: Prompt((), key) for key in turns if key}
        prompts = {key: prompt for key, prompt in prompts.items() if fits(self.roles, prompt, RESERVE)}
        texts = [[*COMPLAINTS.values()]] * len(prompts)
        found = BenchmarkEvaluator().rank(self.roles, None, [*prompts.values()], texts, self.token_budget)
        known = dict(zip(prompts, found, strict=True))
        return [known.get(key, [math.nan] * len(COMPLAINTS)) for key in turns]

    def scorers(self) -> list[Scorer]:
        """A scorer for each complaint, and the mean of all of them, turned round: what is liked is high."""
        return [_FollowUp(f"complaint: {fault}", self, k) for k, fault in enumerate(COMPLAINTS)]

    @classmethod
    def of_base(cls) -> FollowUps | None:
        """On `BASE`, where it is ready on this machine."""
        return cls(load_roles(ModelSettings(base=BASE))) if is_ready(BASE) else None

    def no_complaint(self) -> Scorer:
        """How unlikely the complaints are, all together: needs no ratings to be fitted to."""
        return _FollowUp("no complaint", self, None)


@dataclass(frozen=True)
class _FollowUp:
    """One complaint, or with None the mean of all."""

    name: str
    followups: FollowUps
    place: int | None

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        found = self.followups.likelihoods(rows)
        if self.place is None:
            return [-sum(values) / len(values) for values in found]
        return [values[self.place] for values in found]


def _last_turns(row: RatedReply) -> tuple[str, ...]:
    """The last turns as the partner hears them, the bot's last; empty where the bot said nothing there."""
    said = [*row.context[: len(row.context) // 2 * 2]] if row.reply is None else [*row.context, row.reply]
    if not said or not said[-1].strip():
        return ()
    while not said[0].strip():  # where the bot opened, as in data that starts with its turn
        said = said[1:]
    turns = tuple(said[-TURNS:])
    return turns if len(turns) % 2 else ("", *turns)
