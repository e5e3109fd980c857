"""Attention as plain matrix products, which on CPUs in bfloat16 is faster than PyTorch's own, above all backwards.

Registered with transformers under the name `matmul`, so that any family can use it (`attn_implementation="matmul"`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

MATMUL = "matmul"


def matmul_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    position_bias: Tensor | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """softmax(q k^T / sqrt(d) + mask) v (Vaswani et al. 2017), everything in the dtype of the model.

    Args:
        module: the attention layer (unused).
        query: (B, heads, T, d).
        key: (B, groups, S, d); each group of key heads serves heads / groups query heads.
        value: (B, groups, S, d).
        attention_mask: (B or 1, 1, T, S), added to the scores, as `eager_mask` makes it for causal attention too; None:
            everything is seen.
        scaling: of the scores; None: 1 / sqrt(d).
        dropout: must be 0, the base never drops anything.
        softcap: scores are softly limited to this size (Gemma 2).
        position_bias: (B or 1, heads, T, S), added to the scores.
        s_aux: attention sinks, which this function does not know.

    Returns:
        (B, T, heads, d) and no attention weights.

    Raises:
        NotImplementedError: dropout or sinks.
    """
    # Sinks would be lost silently (measured: a tiny GPT-OSS was off by 1.4 nats).
    if dropout or s_aux is not None:
        raise NotImplementedError("attention as matrix products knows neither dropout nor sinks")
    rows, heads, width, size = query.shape
    groups = key.shape[1]
    query = query * (size**-0.5 if scaling is None else scaling)
    if groups < heads:  # the queries of the heads that share keys stand below each other: no key is copied
        query = query.reshape(rows, groups, -1, size)
    # Blocks of queries gave little. Measured: 14.6 ms instead of 16.2 ms (292 tokens), 5.9 ms instead of 5.1 ms (160).
    scores = torch.matmul(query, key.transpose(2, 3)).view(rows, heads, width, -1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    for addend in (position_bias, attention_mask):
        if addend is not None:
            scores += addend
    weights = scores.softmax(-1).view(rows, groups, -1, key.shape[2])
    return torch.matmul(weights, value).view(rows, heads, width, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(MATMUL, matmul_attention)
AttentionMaskInterface.register(MATMUL, eager_mask)


def use_matmul(model: Any, dtype: torch.dtype) -> None:
    """Switches a model that computes in `dtype` to this attention where it is the fastest: in bfloat16 on a CPU, for families
    that transformers runs with PyTorch's own by default and that take their attention from its registry."""
    # Measured in bfloat16: PyTorch's own attention took 3.8 s of a PPO step of 8.9 s, half of it backward.
    fitting = model.device.type == "cpu" and dtype == torch.bfloat16
    if fitting and model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(MATMUL)
