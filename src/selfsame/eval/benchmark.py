"""Ranking the gold reply among others: Hits@1, with all candidates of a prompt sharing one pass over it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from selfsame.eval.statistics import Bootstrap, Estimate
from selfsame.model.roles import Roles
from selfsame.rollout.collect import token_values
from selfsame.types import Prompt


@dataclass(frozen=True)
class BenchmarkEvaluator:
    """Ranks candidates by their mean log-probability per token. `bootstrap`: how intervals are made."""

    bootstrap: Bootstrap = Bootstrap()

    def rank(self, roles: Roles, role: str | None, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> list[list[float]]:
        """Mean log-probability per token of each candidate to each prompt."""
        processor = roles.processor
        limit = processor.max_length // 2
        encoded = [[processor.encode_reply(c)[-limit:] for c in group] for group in candidates]
        ids = [processor.encode_prompt(p, max(map(len, group))) for p, group in zip(prompts, encoded, strict=True)]
        found = token_values(roles, role, ids, encoded, token_budget=8192)
        return [[sum(values) / len(values) for values in group] for group in found]

    def hits_at_1(
        self,
        roles: Roles,
        role: str | None,
        prompts: Sequence[Prompt],
        gold: Sequence[str],
        distractors: Sequence[Sequence[str]],
        groups: Sequence[Hashable] | None = None,
    ) -> Estimate:
        """Share of prompts whose gold reply ranks first among itself and its distractors; a tie for the first place counts as
        a share of it, so that no order of the candidates can win."""
        scores = self.rank(roles, role, prompts, [[g, *d] for g, d in zip(gold, distractors, strict=True)])
        hits = [math.nan if math.isnan(s[0]) else float(s[0] >= max(s)) / s.count(s[0]) for s in scores]
        return self.bootstrap.mean(hits, groups)


def draw_distractors(gold: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """For each reply, up to `count` other replies that differ from it and from each other."""
    different = list(dict.fromkeys(gold))
    found = []
    for i, reply in enumerate(gold):
        order = np.random.default_rng([seed, i]).permutation(len(different))
        found.append([different[k] for k in order if different[k] != reply][:count])
    return found
