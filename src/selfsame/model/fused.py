"""A frozen linear layer and its LoRA adapter as one operation, in the dtype of the layer.

PEFT computes the adapter of a bfloat16 layer in float32: every activation is copied to float32 and back. Here the two
small adapter matrices are cast instead, and nothing but the layer's input and the rank-r product is kept for the backward
pass. In float32 the values are PEFT's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from selfsame.model.peft import LoraLinear


def _compute(
    x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """y = x W^T + b + s (x A^T) B^T (Hu et al. 2021, equation 3), and what the backward pass needs."""
    x_MI = x.reshape(-1, x.shape[-1])
    a, b = a_RI.to(x.dtype), b_OR.to(x.dtype)
    low_MR = x_MI @ a.T
    y_MO = torch.mm(x_MI, weight_OI.T) if bias_O is None else torch.addmm(bias_O, x_MI, weight_OI.T)
    y_MO.addmm_(low_MR, b.T, alpha=scale)
    return y_MO.view(*x.shape[:-1], weight_OI.shape[0]), (x_MI, low_MR, weight_OI, a, b)


class _FusedLora(torch.autograd.Function):
    """`_compute` with W and b frozen."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> Tensor:
        y, kept = _compute(x, weight_OI, bias_O, a_RI, b_OR, scale)
        ctx.save_for_backward(*kept)
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, a_RI.dtype
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x_MI, low_MR, weight_OI, a, b = ctx.saved_tensors
        grad_MO = grad.reshape(-1, grad.shape[-1])
        low_grad_MR = (grad_MO @ b).mul_(ctx.scale)
        grad_x = grad_a = grad_b = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.mm(grad_MO, weight_OI).addmm_(low_grad_MR, a).view(ctx.shape)
        if ctx.needs_input_grad[3]:
            grad_a = (low_grad_MR.T @ x_MI).to(ctx.dtype)
        if ctx.needs_input_grad[4]:
            grad_b = (grad_MO.T @ low_MR).mul_(ctx.scale).to(ctx.dtype)
        return grad_x, None, None, grad_a, grad_b, None


class FusedLinear(LoraLinear):
    """PEFT's layer, which computes as one operation while one plain adapter is in force on a frozen layer and nothing is
    dropped; else PEFT's own code runs."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        names = [name for name in self.active_adapters if name in self.lora_A]
        if args or kwargs or self.disable_adapters or self.merged or len(names) != 1 or not self._is_plain(names[0], x):
            return super().forward(x, *args, **kwargs)
        base: Any = self.base_layer
        weight_OI = base.weight.T if isinstance(base, Conv1D) else base.weight
        a, b = self.lora_A[names[0]].weight, self.lora_B[names[0]].weight
        given: Any = x, weight_OI, base.bias, a, b, self.scaling[names[0]]
        # A function of autograd costs 40 us a call, which is felt where a few tokens are computed at a time.
        return _FusedLora.apply(*given) if torch.is_grad_enabled() else _compute(*given)[0]

    def _is_plain(self, name: str, x: Tensor) -> bool:
        base, dropout = self.base_layer, self.lora_dropout[name]
        return (
            name not in self.lora_variant
            and not self.lora_bias[name]
            and (isinstance(dropout, nn.Identity) or not dropout.training)
            and x.dtype == base.weight.dtype
            and not any(p.requires_grad for p in base.parameters())
        )


def fuse_lora(model: nn.Module) -> None:
    """Makes every LoRA layer of a PEFT model on a plain linear layer a `FusedLinear`. May be called again."""
    for layer in model.modules():
        # PEFT's own object with another class keeps its format and its code, which is the fallback.
        if type(layer) is LoraLinear and type(layer.base_layer) in (nn.Linear, Conv1D):
            layer.__class__ = FusedLinear
