"""Ranking the gold reply among others: Hits@1, with all candidates of a prompt sharing one pass over it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from selfsame.metrics.statistics import Bootstrap, Estimate
from selfsame.model.roles import Roles
from selfsame.rollout.collect import Rows, token_logprobs
from selfsame.text.keywords import words
from selfsame.types import Prompt


@dataclass(frozen=True)
class BenchmarkEvaluator:
    """Ranks candidates by their mean log-probability per token. `bootstrap`: how intervals are made."""

    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    def rank(
        self,
        roles: Roles,
        role: str | None,
        prompts: Sequence[Prompt],
        candidates: Sequence[Sequence[str]],
        token_budget: int = 4096,
    ) -> list[list[float]]:
        """Mean log-probability per token, end token included, of each candidate to each prompt. Of a candidate longer than
        a quarter of `max_length` only that much, from its beginning."""
        found = self.score_tokens(roles, role, prompts, candidates, token_budget)
        return [[sum(values) / len(values) for values in group] for group in found]

    def score_tokens(
        self,
        roles: Roles,
        role: str | None,
        prompts: Sequence[Prompt],
        candidates: Sequence[Sequence[str]],
        token_budget: int = 4096,
        reserve: int | None = None,
    ) -> list[list[list[float]]]:
        """The log-probabilities (nats) behind `rank`: of each token of each candidate to each prompt, the end token last.
        `reserve`: tokens that a long prompt leaves free; None: as many as its longest candidate has."""
        processor = roles.processor
        encoded = [[processor.encode_reply(c)[: longest_candidate(roles)] for c in group] for group in candidates]
        rooms = [max(map(len, group)) if reserve is None else reserve for group in encoded]
        ids = [processor.encode_prompt(prompt, room) for prompt, room in zip(prompts, rooms, strict=True)]
        return token_logprobs(roles, role, Rows(ids, encoded), token_budget)

    def hits_at_1(
        self,
        roles: Roles,
        role: str | None,
        prompts: Sequence[Prompt],
        gold: Sequence[str],
        distractors: Sequence[Sequence[str]],
        groups: Sequence[Hashable] | None = None,
    ) -> Estimate:
        """Share of prompts whose gold reply ranks first among itself and its distractors (see `hit`). A prompt without
        distractors is missing."""
        scores = self.rank(roles, role, prompts, [[g, *d] for g, d in zip(gold, distractors, strict=True)])
        return self.bootstrap.share([hit(s) for s in scores], groups)


def hit(scores: Sequence[float]) -> float:
    """1 where the first score is the highest, 0 where it is not; a tie of k for the first place counts 1 / k, so that no
    order of the candidates can win. NaN without anything to compare with."""
    if len(scores) < 2 or any(map(math.isnan, scores)):
        return math.nan
    return float(scores[0] == max(scores)) / scores.count(scores[0])


def longest_candidate(roles: Roles) -> int:
    """How many tokens of a candidate are scored."""
    return max(1, roles.processor.max_length // 4)


def fits(roles: Roles, prompt: Prompt, reserve: int | None = None) -> bool:
    """Whether the persona leaves room for a reply of `reserve` tokens (None: for the longest candidate)."""
    return roles.processor.fits(prompt, longest_candidate(roles) if reserve is None else reserve)


def draw_distractors(gold: Sequence[str], pool: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """For each gold reply `count` of the pool that differ from it and from each other in their words; none (so that it is
    not scored: one of two is no Hits@1 of twenty) where the pool has not as many."""
    different = {_key(text): text for text in reversed(pool)}  # the first of those that are alike stays
    keys = sorted(different)
    found = []
    for i, reply in enumerate(gold):
        order = np.random.default_rng([seed, i]).permutation(len(keys))
        drawn = [different[keys[k]] for k in order[: count + 1] if keys[k] != _key(reply)][:count]
        found.append(drawn if len(drawn) == count else [])
    return found


def _key(text: str) -> str:
    return " ".join(words(text)) or text
