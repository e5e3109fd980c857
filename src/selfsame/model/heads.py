"""Heads on a role's hidden states: the reward of a reply, the value of a state, what one sentence says about another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from selfsame.errors import RunError
from selfsame.model.prefix_batch import final_states, hidden_states, prefix_batches, source_states
from selfsame.run.logger import Progress
from selfsame.types import LABELS, Prompt

if TYPE_CHECKING:
    from selfsame.model.role_set import Roles
    from selfsame.model.trunk import TrunkStates


class ScalarHead(nn.Module):
    """`gain * (w . h + b) + bias` in float32. Gain and bias normalise a trained reward (see `normalise`); they are saved
    with the head but not trained."""

    gain: Tensor
    bias: Tensor

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """(...,) scalars of hidden states (..., H)."""
        with torch.autocast("cuda" if hidden.is_cuda else "cpu", enabled=False):
            return self.gain * self.linear(hidden.float())[..., 0] + self.bias

    @torch.no_grad()
    def normalise(self, scores: Tensor) -> None:
        """Makes the scores, which this head gave to samples of the SFT model, mean 0 and standard deviation 1 (Ziegler et
        al. 2019, section 2.1): rewards of different models and runs are then on one scale.

        Raises:
            RunError: the scores are fewer than two, not finite, or all the same.
        """
        mean, std = scores.float().mean(), scores.float().std() if len(scores) > 1 else torch.tensor(0.0)
        if not (torch.isfinite(mean) and std > 1e-6):
            raise RunError(
                f"the reward model gives {len(scores)} samples a mean of {float(mean):.3g} and a standard deviation of"
                f" {float(std):.3g}: it cannot be normalised; train it on more pairs or for longer"
            )
        self.gain /= std
        self.bias.copy_((self.bias - mean) / std)


class LabelHead(nn.Module):
    """Logits of the labels of a pair of sentences, in float32: `W h + b`. It starts undecided."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, len(LABELS))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., 3) logits of hidden states (..., H)."""
        with torch.autocast("cuda" if hidden.is_cuda else "cpu", enabled=False):
            return self.linear(hidden.float())


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
            how = self.token_budget, self.processor.pad_id, model.device, trunk, progress
            for rows, batch in prefix_batches(prompts, replies, *how):
                hidden_BTH = hidden_states(model, batch)
                values_N: Any = iter(self.roles.heads["reward"](final_states(batch, hidden_BTH)).tolist())
                for i in rows:
                    scores[i] = [next(values_N) for _ in replies[i]]
                if states:
                    source_MH = source_states(batch, hidden_BTH).cpu()
                    parts: Any = iter(source_MH.split(batch.reply_mask_NR.sum(1).tolist()))
                    for i in rows:
                        found[i] = [next(parts).clone() for _ in replies[i]]
        return scores, found
