"""The reward of a reply: the `reward` role, read by its head at the reply's last token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfsame.model.prefix_batch import (
    PrefixBatch,
    final_states,
    hidden_states,
    over_prefix_batches,
    source_states,
)
from selfsame.model.roles import Roles
from selfsame.model.trunk import TrunkStates
from selfsame.run.logger import Progress
from selfsame.types import Prompt


class RewardModel:
    """The reward role with its head: one number per reply, read at the reply's last token."""

    def __init__(self, roles: Roles, token_budget: int = 4096) -> None:
        self.roles, self.processor, self.token_budget = roles, roles.processor, token_budget

    def compute_reward(self, persona: Sequence[str], context: Sequence[str], response: str) -> float:
        """Reward of one reply. `context`: the turns so far, the partner's last (the partner opens unless its first text
        is empty)."""
        return self.score([Prompt(tuple(persona), tuple(context))], [[response]])[0][0]

    @torch.no_grad()
    def score(self, prompts: Sequence[Prompt], replies: Sequence[Sequence[str]]) -> list[list[float]]:
        """Rewards of several replies to each prompt; the prompt is computed once for all of them."""
        limit = self.processor.max_length // 2
        encoded = [[self.processor.encode_reply(r)[-limit:] for r in siblings] for siblings in replies]
        prompt_ids = [self.processor.encode_prompt(p, max(map(len, e))) for p, e in zip(prompts, encoded, strict=True)]
        return self.score_ids(prompt_ids, encoded)

    def score_ids(
        self,
        prompts: Sequence[Sequence[int]],
        replies: Sequence[Sequence[Sequence[int]]],
        trunk: TrunkStates | None = None,
        progress: Progress | None = None,
    ) -> list[list[float]]:
        """The same for token ids (replies with their end token, where they have one). `trunk`: of these rows, if known;
        `progress`: is told of prompts done."""
        return self.score_states(prompts, replies, trunk, False, progress)[0]

    @torch.no_grad()
    def score_states(
        self,
        prompts: Sequence[Sequence[int]],
        replies: Sequence[Sequence[Sequence[int]]],
        trunk: TrunkStates | None = None,
        states: bool = True,
        progress: Progress | None = None,
    ) -> tuple[list[list[float]], list[list[Tensor]]]:
        """Rewards, and for each reply the (R, H) hidden states before each of its tokens (on the CPU; none if not wanted)."""
        scores: list[list[float]] = [[] for _ in prompts]
        found: list[list[Tensor]] = [[] for _ in prompts]
        with self.roles.use("reward") as model:

            def measure(batch: PrefixBatch) -> tuple[list[float], list[Tensor]]:
                hidden_BTH = hidden_states(model, batch)
                values_N = self.roles.heads["reward"](final_states(batch, hidden_BTH)).tolist()
                if not states:
                    return values_N, []
                source_MH = source_states(batch, hidden_BTH).cpu()
                return values_N, [part.clone() for part in source_MH.split(batch.reply_mask_NR.sum(1).tolist())]

            how = self.token_budget, self.processor.pad_id, trunk
            for rows, (values_N, parts) in over_prefix_batches(measure, model, prompts, replies, *how):
                value, part = iter(values_N), iter(parts)
                for i in rows:
                    scores[i] = [next(value) for _ in replies[i]]
                    if states:
                        found[i] = [next(part) for _ in replies[i]]
                if progress:
                    progress.advance(len(rows))
        return scores, found
