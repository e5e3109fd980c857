"""Sampling of replies: one pass over each prompt, then one token a step for all its replies.

Finished replies leave the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from selfsame.model.concurrent import concurrently
from selfsame.model.reward_model import RewardModel
from selfsame.model.roles import Roles
from selfsame.rollout.decoding import DecodingState
from selfsame.rollout.sampler import reply_noise, sample_token
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.interruption import may_stop
from selfsame.text.functions import Total
from selfsame.text.violations import says_again
from selfsame.types import Prompt

RETRY = 1_000_000
"""Added to the step of the random numbers for each time that a reply is sampled anew."""
Choose = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Watch = Callable[[list[int]], None]
"""Is given the tokens of a reply so far, after each step of its sampling."""


@dataclass(frozen=True)
class Reply:
    """A sampled reply: its tokens, their log-probabilities as sampled, and whether it ended by itself."""

    ids: list[int]
    logprobs: list[float]
    ended: bool


class RolloutEngine:
    """Samples with any role of a model.

    Args:
        roles: the model.
        batch_size: replies in the batch at once.
        worth: what the best of several replies is chosen by; None: the reward model's score.
        watch: follows the sampling of a single reply; it sees nothing where the best of several is taken.
    """

    def __init__(
        self, roles: Roles, batch_size: int = 64, worth: Total | None = None, watch: Watch | None = None
    ) -> None:
        # Measured: batches above 64 replies gain 10 to 20 % at the most and lose it again from 512 on.
        self.roles, self.batch_size, self.worth, self.watch = roles, batch_size, worth, watch
        self.processor = roles.processor

    @torch.no_grad()
    def sample(
        self,
        role: str | None,
        prompts: Sequence[Sequence[int]],
        uniform_NR: Tensor,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> list[list[Reply]]:
        """N / P replies to each of the P prompts (token ids), at most R tokens long.

        Args:
            role: whose adapter speaks; None: the base.
            prompts: P prompts.
            uniform_NR: random numbers, the rows of one prompt after another (see `sampler.uniforms`).
            temperature: of the softmax; 0 is greedy.
            top_p: nucleus; leave it at 1 while training.
        """
        if not prompts:
            return []
        n = uniform_NR.shape[0] // len(prompts)
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
        count = math.ceil(len(order) / max(1, self.batch_size // n))
        size = math.ceil(len(order) / count)  # equal batches: a CPU decodes several at once
        batches = [order[at : at + size] for at in range(0, len(order), size)]
        replies: list[list[Reply]] = [[] for _ in prompts]
        pick: Choose = partial(sample_token, temperature=temperature, top_p=top_p)
        if self.watch is not None and uniform_NR.shape[0] == 1:
            pick = _watched(pick, self.watch)
        # The adapter stays unmerged: merged weights round differently in bfloat16, and the first ratio would not be 1.
        with self.roles.use(role) as model:

            def decode(some: list[int]) -> list[Reply]:
                numbers_NR = torch.cat([uniform_NR[i * n : (i + 1) * n] for i in some])
                ids = self.processor.end_id, self.processor.pad_id
                return _decode(model, [prompts[i] for i in some], numbers_NR, pick, *ids)

            for some, flat in zip(batches, concurrently(decode, batches, model), strict=True):
                for k, i in enumerate(some):
                    replies[i] = flat[k * n : (k + 1) * n]
        return replies

    def reply(
        self,
        role: str | None,
        prompts: Sequence[Prompt],
        settings: SamplingSettings,
        seed: int = 0,
        step: int = 0,
        places: Sequence[int] | None = None,
        best_of: int = 1,
    ) -> list[str]:
        """The texts of `replies`."""
        found = self.replies(role, prompts, settings, seed, step, places, best_of)
        return [self.processor.decode_reply(reply.ids) for reply in found]

    def replies(
        self,
        role: str | None,
        prompts: Sequence[Prompt],
        settings: SamplingSettings,
        seed: int = 0,
        step: int = 0,
        places: Sequence[int] | None = None,
        best_of: int = 1,
    ) -> list[Reply]:
        """One reply to each prompt, sampled anew where it says something again and `settings.retries` allow it; or of `best_of`
        replies the one to which the `reward` role gives most. Its random numbers are a function of seed, step and its place
        (by default 0, 1, 2, ...). A watch begins again where the reply is sampled anew."""
        places = range(len(prompts)) if places is None else places
        if best_of > 1 and settings.temperature > 0:
            return self._best(role, prompts, settings, seed, step, places, best_of)
        replies: dict[int, Reply] = {}
        wrong = list(range(len(prompts)))
        # Measured in self-play with four retries: repetition .51 to .27, consistency .78 to .77.
        for attempt in range(1 + settings.retries * (settings.temperature > 0)):
            numbers_NR = reply_noise(seed, step + RETRY * attempt, [places[k] for k in wrong], settings.max_new_tokens)
            ids = [self.processor.encode_prompt(prompts[k], settings.max_new_tokens) for k in wrong]
            groups = self.sample(role, ids, numbers_NR, settings.temperature, settings.top_p)
            for k, (reply,) in zip(wrong, groups, strict=True):
                replies[k] = reply
            texts = {k: self.processor.decode_reply(replies[k].ids) for k in wrong}
            wrong = [k for k in wrong if says_again(prompts[k].history[1::2], texts[k])]
        return [replies[k] for k in range(len(prompts))]

    def _best(
        self,
        role: str | None,
        prompts: Sequence[Prompt],
        settings: SamplingSettings,
        seed: int,
        step: int,
        places: Sequence[int],
        n: int,
    ) -> list[Reply]:
        """Of n replies to each prompt the one to which the `reward` role gives most (best-of-n; Stiennon et al. 2020,
        arXiv:2009.01325). With `settings.retries` one that says something again is taken only where all do."""
        ids = [self.processor.encode_prompt(prompt, settings.max_new_tokens) for prompt in prompts]
        numbers_NR = reply_noise(
            seed, step, [place * n + k for place in places for k in range(n)], settings.max_new_tokens
        )
        groups = self.sample(role, ids, numbers_NR, settings.temperature, settings.top_p)
        scores = RewardModel(self.roles).score_ids(ids, [[reply.ids for reply in group] for group in groups])
        texts = [[self.processor.decode_reply(reply.ids) for reply in group] for group in groups]
        if self.worth is not None:
            flat = (
                [p for p in prompts for _ in range(n)],
                [x for own in texts for x in own],
                [x for s in scores for x in s],
            )
            worth = iter(self.worth(*flat))
            scores = [[next(worth) for _ in group] for group in scores]
        best = [choose_best(*row, settings.retries > 0) for row in zip(prompts, texts, scores, strict=True)]
        return [group[k] for group, k in zip(groups, best, strict=True)]


def choose_best(prompt: Prompt, replies: Sequence[str], rewards: Sequence[float], shun: bool) -> int:
    """Which reply has the highest reward; `shun`: of those that say no own earlier turn, or themselves, again, if any do
    not."""
    new = [k for k, reply in enumerate(replies) if not (shun and says_again(prompt.history[1::2], reply))]
    return max(new or range(len(replies)), key=lambda k: rewards[k])


def _watched(pick: Choose, watch: Watch) -> Choose:
    """`pick`, with `watch` following the tokens of the first reply."""
    ids: list[int] = []

    def picked(logits_AV: Tensor, uniform_A: Tensor) -> tuple[Tensor, Tensor]:
        token_A, logprob_A = pick(logits_AV, uniform_A)
        ids.append(int(token_A[0]))
        watch(list(ids))
        return token_A, logprob_A

    return picked


def _decode(
    model: Any, prompts: list[Sequence[int]], uniform_NR: Tensor, pick: Choose, end_id: int, pad_id: int
) -> list[Reply]:
    """Replies to prompts of similar length."""
    device, (count, length) = model.device, uniform_NR.shape
    tokens_NR = torch.full((count, length), pad_id, device=device)
    logprobs_NR = torch.zeros(count, length, device=device)
    length_N = torch.full((count,), length, device=device)
    uniform_NR = uniform_NR.to(device)
    state = DecodingState(model, prompts, count // len(prompts), length, pad_id)
    for r in range(length):
        may_stop()
        token_A, logprob_A = pick(state.logits_AV, uniform_NR[state.reply_A, r])
        alive_A = length_N[state.reply_A] > r  # replies that ended stay until enough of them can leave at once
        rows = state.reply_A[alive_A]
        tokens_NR[rows, r], logprobs_NR[rows, r] = token_A[alive_A], logprob_A[alive_A]
        ended_A = alive_A & (token_A == end_id)
        length_N[state.reply_A[ended_A]] = r + 1
        alive_A = alive_A & ~ended_A
        if r + 1 == length or not alive_A.any():
            break
        state.advance(token_A, alive_A)
    ends = (tokens_NR.gather(1, length_N[:, None] - 1)[:, 0] == end_id).tolist()
    rows = zip(tokens_NR.tolist(), logprobs_NR.tolist(), length_N.tolist(), ends, strict=True)
    return [Reply(ids[:size], logprobs[:size], ended) for ids, logprobs, size, ended in rows]
