"""The experience of a PPO step, and its parts that fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfsame.model.prefix_batch import PrefixBatch, micro_batches
from selfsame.rollout.collect import Rollout
from selfsame.types import Prompt


@dataclass(frozen=True)
class Experience:
    """A rollout to some prompts with what it is worth. (N, R) tensors are zero outside the rollout's reply mask. `kl`: nats
    per reply against `sft`, `kl_coef`: the weight it had in the rewards."""

    prompts: Sequence[Prompt]
    rollout: Rollout
    rewards_NR: Tensor
    advantages_NR: Tensor
    returns_NR: Tensor
    kl: float
    kl_coef: float


@dataclass(frozen=True)
class Part:
    """Some rows of a minibatch, for one role. `tokens`: reply tokens of the whole minibatch, over all processes. `states_MH`:
    what the value head reads, where that does not change while training."""

    role: str
    batch: PrefixBatch
    old_logprobs_NR: Tensor
    ref_logprobs_NR: Tensor
    old_values_NR: Tensor
    advantages_NR: Tensor
    returns_NR: Tensor
    kl_coef: float
    tokens: int
    states_MH: Tensor | None


def parts_of(
    batch: Experience, prompts: list[int], role: str, tokens: int, token_budget: int, pad_id: int, device: torch.device
) -> list[Part]:
    """Some prompts of a minibatch with their replies, as parts that fit into `token_budget` tokens each. `role`: for which;
    `tokens`: see `Part`."""
    rollout = batch.rollout
    lengths = [len(rollout.prompts[p]) + sum(len(rollout.replies[i].ids) for i in rollout.episodes(p)) for p in prompts]
    parts = []
    for rows in micro_batches(lengths, token_budget, device):
        chosen = [prompts[r] for r in rows]
        branches = rollout.branches(chosen, pad_id).to(device)
        episodes = torch.tensor([i for p in chosen for i in rollout.episodes(p)])
        width = branches.reply_mask_NR.shape[1]
        measured = rollout.logprobs_NR, rollout.ref_logprobs_NR, rollout.values_NR
        tensors = *measured, batch.advantages_NR, batch.returns_NR
        states_MH = None
        if role == "value" and rollout.states is not None:
            states_MH = torch.cat([rollout.states[i] for i in episodes.tolist()]).to(device)
        old, reference, values, advantages, returns = (t[episodes, :width].to(device) for t in tensors)
        parts.append(
            Part(role, branches, old, reference, values, advantages, returns, batch.kl_coef, tokens, states_MH)
        )
    return parts
