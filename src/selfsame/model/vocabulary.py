"""Log-probabilities of given tokens and entropies, without keeping a number for every word of the vocabulary.

For a hidden state h the gradient of log p(token) is (W[token] - p W) / temperature, which is known as soon as the
probabilities p are. So that vector of the size of h is kept for the backward pass, and the logits, which for large vocabularies
are most of the memory of a language model's training step, live for a few rows at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_CHUNK = {"cpu": 2**20, "cuda": 2**26}
"""Logits at a time: on a CPU they stay in its cache."""
_LEAST_ROWS = 128
"""But so many rows at least: each chunk reads all of the vocabulary's weights."""


def vocabulary_logits(model: Any, hidden: Tensor) -> Tensor:
    """(..., V) float32 logits of hidden states (..., H), with the soft cap of the families that have one."""
    logits = model.get_output_embeddings()(hidden.to(model.dtype)).float()
    cap = _soft_cap(model)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def token_logprobs(
    model: Any,
    hidden_MH: Tensor,
    token_M: Tensor,
    temperature: float = 1.0,
    entropy: bool = False,
    entropy_gradient: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """((M,) log-probabilities of the tokens after these hidden states, (M,) entropies in nats if asked for), differentiable
    in the hidden states; the entropies' gradient costs a product with the vocabulary, so it can be left out."""
    head = model.get_output_embeddings()
    learned = torch.is_grad_enabled() and head.weight.requires_grad
    if type(head) is not nn.Linear or learned or _soft_cap(model) is not None:
        logprob_M, entropy_M = _plainly(model, hidden_MH, token_M, temperature, entropy, entropy_gradient)
    else:
        training = torch.is_grad_enabled() and hidden_MH.requires_grad
        slopes = (training, training and entropy and entropy_gradient)
        logprob_M, entropy_M = _TokenLogprobs.apply(
            hidden_MH.to(model.dtype), head.weight, head.bias, token_M, temperature, entropy, slopes
        )  # pyright: ignore[reportGeneralTypeIssues]
    if not entropy or entropy_M is None:
        return logprob_M, None
    return logprob_M, entropy_M if entropy_gradient else entropy_M.detach()


def _plainly(
    model: Any, hidden_MH: Tensor, token_M: Tensor, temperature: float, entropy: bool, entropy_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    logits_MV = vocabulary_logits(model, hidden_MH)
    logprobs_MV = torch.log_softmax(logits_MV if temperature == 1 else logits_MV / temperature, dim=-1)
    chosen_M = logprobs_MV.gather(-1, token_M[:, None])[:, 0]
    if not entropy:
        return chosen_M, None
    with torch.set_grad_enabled(torch.is_grad_enabled() and entropy_gradient):
        return chosen_M, -(logprobs_MV.exp() * logprobs_MV).sum(-1)


def _soft_cap(model: Any) -> float | None:
    return getattr(model.config, "final_logit_softcapping", None)


class _TokenLogprobs(torch.autograd.Function):
    """log p(token) and H(p) = -sum p log p with p = softmax(W h / t): their gradients in h are (W[token] - p W) / t and
    -(p (log p + H)) W / t."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden_MH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        token_M: Tensor,
        temperature: float,
        entropy: bool,
        needed: tuple[bool, bool],
    ) -> tuple[Tensor, Tensor]:
        # Measured: plain softmax, entropy and their gradients over all words took a tenth of a PPO step.
        logprob_M = hidden_MH.new_empty(len(hidden_MH), dtype=torch.float32)
        entropy_M = torch.zeros_like(logprob_M)
        slopes, entropy_slopes = (torch.empty_like(hidden_MH) if wanted else None for wanted in needed)
        rows = max(_LEAST_ROWS, _CHUNK.get(hidden_MH.device.type, 2**26) // len(weight_VH))
        for at in range(0, len(hidden_MH), rows):
            some, place = slice(at, at + rows), torch.arange(len(token_M[at : at + rows]), device=token_M.device)
            logits = nn.functional.linear(hidden_MH[some], weight_VH, bias_V).float()
            # A division by 1 would pass over all logits once more.
            if temperature != 1:
                logits.div_(temperature)
            p = logits.softmax(-1)
            top, best = logits.max(-1)
            normaliser = top - p[place, best].log()  # the most likely word's p is at least 1 / V
            logprob_M[some] = logits[place, token_M[some]] - normaliser
            if entropy:
                entropy_M[some] = normaliser - (p * logits).sum(-1)
            if entropy_slopes is not None:
                spread = logits.sub_((normaliser - entropy_M[some])[:, None]).mul_(p)
                entropy_slopes[some] = -_product(spread, weight_VH) / temperature
            if slopes is not None:
                p = p.neg_()
                p[place, token_M[some]] += 1
                slopes[some] = _product(p, weight_VH) / temperature
        ctx.save_for_backward(slopes, entropy_slopes)
        return logprob_M, entropy_M

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_M: Tensor, entropy_grad_M: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        slopes, entropy_slopes = ctx.saved_tensors
        grad_MH = grad_M[:, None] * slopes.float()
        if entropy_slopes is not None:
            grad_MH += entropy_grad_M[:, None] * entropy_slopes.float()
        return grad_MH.to(slopes.dtype), None, None, None, None, None, None


def _product(p_MV: Tensor, weight_VH: Tensor) -> Tensor:
    """p W in the dtype of W. float16 would take small probabilities for zero, so they are enlarged for the product."""
    if weight_VH.dtype != torch.float16:
        return p_MV.to(weight_VH.dtype) @ weight_VH
    return ((p_MV * 2.0**10).to(torch.float16) @ weight_VH) * 2.0**-10
