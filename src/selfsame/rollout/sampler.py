"""Sampling of a token from logits, with random numbers that belong to the reply and not to its batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Measured on 1,024 replies: 11.5 to 11.8 s of CPU time, with a sort of the vocabulary 16.6 to 17.5 s.
HEAD = 64
"""The nucleus is looked for among so many of the most likely tokens first: they nearly always hold it."""
REPLIES = 2  # the stream of random numbers that replies are drawn with; see training/loop.py for the others


def reply_noise(seed: int, step: int, replies: Sequence[int], length: int) -> Tensor:
    """(N, length) uniform random numbers in [0, 1), a function of (seed, step, reply index, token index) alone: the same
    reply comes out on one process or two, in any batch, before and after a restart. (In bfloat16 and float16 the logits
    themselves depend a little on the batch, so that a draw near the edge between two tokens can fall either way.)"""
    # Measured alone and in a batch: the same reply for 18 of 18 in float32, for 5 to 14 of 18 in bfloat16.
    rows = [np.random.default_rng([REPLIES, seed, step, index]).random(length) for index in replies]
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, length, dtype=torch.float64)


def sample_token(
    logits_NV: Tensor, uniform_N: Tensor, temperature: float = 1.0, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Draws a token per row by inverting the cumulative distribution; temperature 0 takes the most likely one.

    Returns:
        (N,) tokens, and (N,) their log-probabilities under the full softmax at `temperature` (at 1 if it is 0): what PPO's
        ratio needs is the policy, not the truncated distribution, so training samples with top_p 1.
    """
    logprobs_NV = torch.log_softmax(logits_NV.float() / (temperature or 1.0), dim=-1)
    if temperature == 0:
        token_N = logprobs_NV.argmax(-1)
    else:
        probs_NV = logprobs_NV.double().exp()
        if top_p < 1:
            probs_NV = _nucleus(probs_NV, top_p)
        cumulative_NV = probs_NV.cumsum(-1)
        target_N1 = uniform_N.to(cumulative_NV)[:, None] * cumulative_NV[:, -1:]
        token_N = torch.searchsorted(cumulative_NV, target_N1, right=True)[:, 0].clamp_max(logits_NV.shape[-1] - 1)
    return token_N, logprobs_NV.gather(-1, token_N[:, None])[:, 0]


def _nucleus(probs_NV: Tensor, top_p: float) -> Tensor:
    """Zero outside the smallest set of most likely tokens with total probability >= top_p (Holtzman et al. 2020),
    together with any that are as likely as its last one. To sort a whole vocabulary takes far longer (see `HEAD`)."""
    head_NK = probs_NV.topk(min(HEAD, probs_NV.shape[-1])).values
    least_N, short_N = _least(head_NK, top_p), head_NK.sum(-1) < top_p
    if short_N.any():
        least_N[short_N] = _least(probs_NV[short_N].sort(descending=True).values, top_p)
    return torch.where(probs_NV >= least_N[:, None], probs_NV, 0)


def _least(sorted_NK: Tensor, top_p: float) -> Tensor:
    """(N,) the smallest of the probabilities, sorted downwards, before which there is less than top_p."""
    return sorted_NK.masked_fill(sorted_NK.cumsum(-1) - sorted_NK >= top_p, math.inf).amin(-1)
