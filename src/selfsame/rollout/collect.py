"""Prompts -> sampled replies -> a `Rollout`: everything PPO needs to know about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfsame.model import parallel
from selfsame.model.branches import Branches, branch, hidden_states, micro_batches, reply_logprobs, source_states
from selfsame.model.heads import RewardModel
from selfsame.model.roles import Roles
from selfsame.rollout.engine import Reply, RolloutEngine
from selfsame.rollout.sampler import uniforms


@dataclass(frozen=True)
class Rollout:
    """P prompts with n replies each (N = P * n, in the prompts' order), as token ids, and what was measured before the
    update. (N, R) tensors are zero outside `reply_mask_NR` (True: a token of the reply). `states`: per reply the hidden
    states (R, H) of the reward role before each token, where the critic reads those."""

    prompts: list[list[int]]
    replies: list[Reply]
    reply_mask_NR: Tensor
    logprobs_NR: Tensor
    ref_logprobs_NR: Tensor
    values_NR: Tensor
    scores_N: Tensor
    ended_N: Tensor
    states: list[Tensor] | None = None

    @property
    def samples_per_prompt(self) -> int:
        return len(self.replies) // len(self.prompts)

    def branches(self, prompts: Sequence[int], pad_id: int) -> Branches:
        """The rows of some prompts (indices) with all their replies."""
        return branch(
            [self.prompts[p] for p in prompts],
            [[self.replies[i].ids for i in self.episodes(p)] for p in prompts],
            pad_id,
        )

    def episodes(self, prompt: int) -> range:
        """Indices of the replies to a prompt."""
        n = self.samples_per_prompt
        return range(prompt * n, (prompt + 1) * n)


def collect_rollout(
    engine: RolloutEngine,
    reward_model: RewardModel,
    prompts: Sequence[list[int]],
    samples_per_prompt: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    step: int,
    token_budget: int,
    critic: str | None = "value",
) -> Rollout:
    """Samples replies with the `policy` role and measures them: log-probabilities under the policy (as sampled) and the
    frozen `sft` role, values, reward scores. `critic`: the role whose hidden states the value head reads (None: all values
    are zero). With several processes each does every world-th prompt, and all of them end up with the whole rollout."""
    n, roles = samples_per_prompt, engine.roles
    mine = parallel.share(range(len(prompts)))
    my_prompts = [list(prompts[i]) for i in mine]
    numbers_NR = uniforms(seed, step, [i * n + k for i in mine for k in range(n)], max_new_tokens)
    groups = engine.sample("policy", my_prompts, numbers_NR, temperature)
    ids = [[reply.ids for reply in group] for group in groups]
    states: list[list[Tensor]] = [[] for _ in ids]
    if critic == "reward":
        scores, states = reward_model.score_states(my_prompts, ids)
        values = [[_read(roles.heads["value"], state) for state in siblings] for siblings in states]
    else:
        scores = reward_model.score_ids(my_prompts, ids)
        values = critic_values(roles, critic, my_prompts, ids, token_budget)
    reference = token_logprobs(roles, "sft", my_prompts, ids, token_budget, temperature)
    rows = parallel.gather(list(zip(my_prompts, groups, scores, reference, values, states, strict=True)))
    replies = [reply for row in rows for reply in row[1]]
    width = max(len(reply.ids) for reply in replies)
    return Rollout(
        prompts=[row[0] for row in rows],
        replies=replies,
        reply_mask_NR=torch.arange(width) < torch.tensor([len(r.ids) for r in replies])[:, None],
        logprobs_NR=_padded([r.logprobs for r in replies], width),
        ref_logprobs_NR=_padded([v for row in rows for v in row[3]], width),
        values_NR=_padded([v for row in rows for v in row[4]], width),
        scores_N=torch.tensor([s for row in rows for s in row[2]]),
        ended_N=torch.tensor([r.ended for r in replies]),
        states=[state for row in rows for state in row[5]] if critic == "reward" else None,
    )


def token_logprobs(
    roles: Roles,
    role: str | None,
    prompts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[Sequence[int]]],
    token_budget: int,
    temperature: float = 1.0,
) -> list[list[list[float]]]:
    """The log-probability of every token of every reply to every prompt under `role` (None: under the base)."""
    return _per_token(roles, role, prompts, replies, token_budget, lambda m, b: reply_logprobs(m, b, temperature)[0])


def critic_values(
    roles: Roles,
    critic: str | None,
    prompts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[Sequence[int]]],
    token_budget: int,
) -> list[list[list[float]]]:
    """The value before every token, read by the value head from the hidden states of the role `critic`; None: zeros."""
    if critic is None:
        return [[[0.0] * len(reply) for reply in siblings] for siblings in replies]
    head = roles.heads["value"]
    return _per_token(
        roles,
        critic,
        prompts,
        replies,
        token_budget,
        lambda m, b: b.scatter(head(source_states(b, hidden_states(m, b)))),
    )


@torch.no_grad()
def _per_token(
    roles: Roles,
    role: str | None,
    prompts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[Sequence[int]]],
    token_budget: int,
    measure: Callable[[Any, Branches], Tensor],
) -> list[list[list[float]]]:
    """`measure` gives (N, R) numbers of a batch of the rows."""
    found: list[list[list[float]]] = [[] for _ in prompts]
    lengths = [len(p) + sum(map(len, r)) for p, r in zip(prompts, replies, strict=True)]
    with roles.use(role) as model:
        for rows in micro_batches(lengths, token_budget, model.device):
            batch = branch([prompts[i] for i in rows], [replies[i] for i in rows], roles.processor.pad_id)
            lists = iter(measure(model, batch.to(model.device)).tolist())
            for i in rows:
                found[i] = [next(lists)[: len(reply)] for reply in replies[i]]
    return found


@torch.no_grad()
def _read(head: Any, states_RH: Tensor) -> list[float]:
    return head(states_RH.to(head.bias.device)).tolist()


def _padded(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    return torch.tensor([list(row) + [0.0] * (width - len(row)) for row in rows])
