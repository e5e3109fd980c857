"""Prompts -> sampled replies -> a `Rollout`: everything PPO needs to know about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from selfsame.model import parallel
from selfsame.model.prefix_batch import (
    PrefixBatch,
    hidden_states,
    over_prefix_batches,
    prefix_batch,
    reply_logprobs,
    source_states,
)
from selfsame.model.reward_model import RewardModel
from selfsame.model.roles import Roles
from selfsame.model.trunk import TrunkStates
from selfsame.rollout.engine import Reply, RolloutEngine
from selfsame.rollout.sampler import reply_noise
from selfsame.run.logger import Progress
from selfsame.training.settings import PPOSettings


@dataclass(frozen=True)
class Rollout:
    """P prompts with n replies each (N = P * n, in the prompts' order), as token ids, and what was measured before the
    update. (N, R) tensors are zero outside `reply_mask_NR` (True: a token of the reply). `states`: per reply the hidden
    states (R, H) of the reward role before each token, where the value reads them. `trunk`: of the rows, where the model has
    one. `measured`: what rules and the user's functions say of each reply, (N,) by name (see `training/rewards.py`)."""

    prompts: list[list[int]]
    replies: list[Reply]
    reply_mask_NR: Tensor
    logprobs_NR: Tensor
    ref_logprobs_NR: Tensor
    values_NR: Tensor
    scores_N: Tensor
    ended_N: Tensor
    states: list[Tensor] | None = None
    trunk: TrunkStates | None = None
    measured: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def samples_per_prompt(self) -> int:
        return len(self.replies) // len(self.prompts)

    def branches(self, prompts: Sequence[int], pad_id: int) -> PrefixBatch:
        """The rows of some prompts (indices) with all their replies."""
        return prefix_batch(
            [self.prompts[p] for p in prompts],
            [[self.replies[i].ids for i in self.episodes(p)] for p in prompts],
            pad_id,
            None if self.trunk is None else self.trunk.take(prompts),
        )

    def episodes(self, prompt: int) -> range:
        """Indices of the replies to a prompt."""
        n = self.samples_per_prompt
        return range(prompt * n, (prompt + 1) * n)


@dataclass(frozen=True)
class Rows:
    """P prompts with some replies each, as token ids. `trunk`: hidden states of the lower blocks, where they are known."""

    prompts: Sequence[Sequence[int]]
    replies: Sequence[Sequence[Sequence[int]]]
    trunk: TrunkStates | None = None

    def with_trunk(self, roles: Roles, token_budget: int) -> Rows:
        """The same with what the blocks below the first adapter give for them; as they are where there are none."""
        if roles.trunk is None:
            return self
        with roles.use(None) as model:
            pad_id = roles.processor.pad_id
            return replace(self, trunk=roles.trunk.states(model, self.prompts, self.replies, token_budget, pad_id))


def collect_rollout(
    engine: RolloutEngine,
    reward_model: RewardModel,
    prompts: Sequence[list[int]],
    settings: PPOSettings,
    seed: int,
    step: int,
    value_role: str | None = "value",
) -> Rollout:
    """Samples replies with the `policy` role and measures them: log-probabilities under the policy (as sampled) and the
    frozen `sft` role, values, reward scores. `value_role`: the role whose hidden states the value head reads (None: all values
    are zero). With several processes each does every world-th prompt, and all of them end up with the whole rollout."""
    n, roles, budget = settings.samples_per_prompt, engine.roles, settings.token_budget
    mine = parallel.share(range(len(prompts)))
    my_prompts = [list(prompts[i]) for i in mine]
    numbers_NR = reply_noise(seed, step, [i * n + k for i in mine for k in range(n)], settings.max_new_tokens)
    groups = engine.sample("policy", my_prompts, numbers_NR, settings.temperature)
    own = Rows(my_prompts, [[reply.ids for reply in group] for group in groups]).with_trunk(roles, budget)
    states: list[list[Tensor]] = [[] for _ in groups]
    if value_role == "reward":
        # The scoring pass gives the value its states. Measured: 5.1 s a step, a value with its own adapter 8.5 s.
        scores, states = reward_model.score_states(own.prompts, own.replies, own.trunk)
        values = [[_read(roles.heads["value"], state) for state in siblings] for siblings in states]
    else:
        scores = reward_model.score_ids(own.prompts, own.replies, own.trunk)
        values = value_estimates(roles, value_role, own, budget)
    reference = token_logprobs(roles, "sft", own, budget, settings.temperature)
    rows = parallel.gather(list(zip(my_prompts, groups, scores, reference, values, states, strict=True)))
    replies, trunk = [reply for row in rows for reply in row[1]], own.trunk
    if parallel.world() > 1:  # an update shuffles the rows among the processes: each needs the states of all
        everything = Rows([row[0] for row in rows], [[r.ids for r in row[1]] for row in rows])
        trunk = everything.with_trunk(roles, budget).trunk
    width = max(len(reply.ids) for reply in replies)
    return Rollout(
        prompts=[row[0] for row in rows],
        replies=replies,
        reply_mask_NR=torch.arange(width) < torch.tensor([len(r.ids) for r in replies])[:, None],
        # Measured in bfloat16: the sampler differs from the trainer by .003 to .006 nats a token, .06 at the most.
        logprobs_NR=_padded([r.logprobs for r in replies], width),
        ref_logprobs_NR=_padded([v for row in rows for v in row[3]], width),
        values_NR=_padded([v for row in rows for v in row[4]], width),
        scores_N=torch.tensor([s for row in rows for s in row[2]]),
        ended_N=torch.tensor([r.ended for r in replies]),
        states=[state for row in rows for state in row[5]] if value_role == "reward" else None,
        trunk=trunk,
    )


def token_logprobs(
    roles: Roles,
    role: str | None,
    rows: Rows,
    token_budget: int,
    temperature: float = 1.0,
    progress: Progress | None = None,
) -> list[list[list[float]]]:
    """The log-probability of every token of every reply to every prompt under `role` (None: under the base). `progress`
    advances by one a prompt."""

    def measure(model: Any, batch: PrefixBatch) -> Tensor:
        return reply_logprobs(model, batch, temperature)[0]

    return _per_token(roles, role, rows, token_budget, measure, progress)


def value_estimates(roles: Roles, value_role: str | None, rows: Rows, token_budget: int) -> list[list[list[float]]]:
    """The value before every token, read by the value head from the hidden states of the role `value_role`; None: zeros."""
    if value_role is None:
        return [[[0.0] * len(reply) for reply in siblings] for siblings in rows.replies]
    head = roles.heads["value"]

    def measure(model: Any, batch: PrefixBatch) -> Tensor:
        return batch.scatter(head(source_states(batch, hidden_states(model, batch))))

    return _per_token(roles, value_role, rows, token_budget, measure)


@torch.no_grad()
def _per_token(
    roles: Roles,
    role: str | None,
    rows: Rows,
    token_budget: int,
    measure: Callable[[Any, PrefixBatch], Tensor],
    progress: Progress | None = None,
) -> list[list[list[float]]]:
    """`measure` gives (N, R) numbers of a batch of the rows."""
    found: list[list[list[float]]] = [[] for _ in rows.prompts]
    with roles.use(role) as model:

        def measured(batch: PrefixBatch) -> list[list[float]]:
            return measure(model, batch).tolist()

        how = token_budget, roles.processor.pad_id, rows.trunk
        for indices, values_NR in over_prefix_batches(measured, model, rows.prompts, rows.replies, *how):
            lists = iter(values_NR)
            for i in indices:
                found[i] = [next(lists)[: len(reply)] for reply in rows.replies[i]]
            if progress:
                progress.advance(len(indices))
    return found


@torch.no_grad()
def _read(head: Any, states_RH: Tensor) -> list[float]:
    return head(states_RH.to(head.bias.device)).tolist()


def _padded(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    return torch.tensor([list(row) + [0.0] * (width - len(row)) for row in rows])
