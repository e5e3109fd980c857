"""Our own code run on tensors without content (PyTorch's meta device), with its memory and operations counted.

No formula of any model family is needed, and none can be out of date: `Trace` watches the very passes that a run makes.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from selfsame.model.lora import LoraRoles
from selfsame.rollout.decoding import DecodingState
from selfsame.rollout.sampler import sample_token

_ATEN = torch.ops.aten


@dataclass(frozen=True)
class Pass:
    """One pass over `tokens` tokens, padding included. Bytes beside weights, adapters and their gradients: `saved` when the
    backward pass begins, `peak` at most, `vocabulary` of the peak in tensors as wide as the vocabulary. `forward` and
    `backward`: floating-point operations; `kernels`: operations that are not mere views."""

    tokens: int
    saved: float
    peak: float
    vocabulary: float
    forward: float
    backward: float
    kernels: int


@dataclass(frozen=True)
class Decoding:
    """A batch of replies. Bytes: `cache` of keys and values, `peak` with it. Floating-point operations of the passes over the
    prompts and of a later step, and its `kernels`."""

    cache: float
    peak: float
    prefill: float
    step: float
    kernels: int


class Trace(TorchDispatchMode):
    """Follows every tensor made: bytes alive now and at most, and of the latter those of vocabulary width.

    A tensor without content cannot say how many of its elements are True or what number it holds: `selected` and `number`
    answer for it.
    """

    def __init__(self, vocabulary: int, selected: int, number: int = 0) -> None:
        super().__init__()
        self.width, self.selected, self.number = vocabulary, selected, number
        self.live = self.wide = self.peak = self.peak_wide = 0.0
        self.kernels = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((args, kwargs)):
            self._enter(tensor, counted=False)  # a weight, or what was there before
        done, out = self._answer(func, args)
        out = out if done else func(*args, **(kwargs or {}))
        new = [self._enter(tensor) for tensor in _tensors(out)]
        self.kernels += any(new) or func._schema.is_mutable
        return out

    def _answer(self, func: Any, args: Any) -> tuple[bool, Any]:
        """What depends on the content of tensors."""
        if not isinstance(args[0] if args else None, Tensor) or args[0].device.type != "meta":
            return False, None
        if func is _ATEN._local_scalar_dense.default:
            return True, True if args[0].dtype == torch.bool else args[0].dtype.is_floating_point * 0.0 or self.number
        if func is _ATEN.nonzero.default:
            return True, args[0].new_empty((self.selected, args[0].ndim), dtype=torch.long)
        mask = next((i for i in args[1] if i is not None), None) if func in _INDEXING else None
        if mask is None or mask.dtype != torch.bool:
            return False, None
        if func is not _ATEN.index.Tensor:
            return True, args[0]
        return True, args[0].new_empty((self.selected, *args[0].shape[mask.ndim :]))

    def _enter(self, tensor: Tensor, counted: bool = True) -> bool:
        """Whether the tensor's memory is new."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return False
        size = float(storage.nbytes()) if counted else 0.0
        wide = size if tensor.ndim and tensor.shape[-1] == self.width else 0.0
        self._known.add(key)
        weakref.finalize(storage, self._leave, key, size, wide).atexit = False
        self.live, self.wide = self.live + size, self.wide + wide
        if self.live > self.peak:
            self.peak, self.peak_wide = self.live, self.wide
        return counted

    def _leave(self, key: int, size: float, wide: float) -> None:
        self._known.discard(key)
        self.live, self.wide = self.live - size, self.wide - wide


_INDEXING = (_ATEN.index.Tensor, _ATEN.index_put_.default, _ATEN.index_put.default)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


class FusedAttention(TorchFunctionMode):
    """PyTorch's attention as its fused kernels keep memory: no matrix of scores. (On the meta device it would take its plain
    way.) Without `grouped`, keys that several heads share take the plain way, as on GPUs before Ampere."""

    def __init__(self, grouped: bool = True) -> None:
        super().__init__()
        self.grouped = grouped

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        if kwargs.get("enable_gqa") and not self.grouped:
            return func(*args, **kwargs)
        return _efficient(*args, **kwargs)


def _efficient(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *, scale: Any = None, **more: Any
) -> Tensor:
    bias = attn_mask
    if bias is not None:  # the kernels take what is added to the scores
        bias = torch.zeros_like(bias, dtype=query.dtype).masked_fill_(bias, 1) if bias.dtype == torch.bool else bias
        bias = bias.expand(*query.shape[:3], key.shape[2])
    if key.shape[1] != query.shape[1]:  # kernels for grouped keys read them in place
        key, value = (
            t[:, :, None].expand(-1, -1, query.shape[1] // t.shape[1], -1, -1).flatten(1, 2) for t in (key, value)
        )
    needed = torch.is_grad_enabled()
    return _ATEN._scaled_dot_product_efficient_attention(
        query, key, value, bias, needed, 0.0, more.get("is_causal", False), scale=scale
    )[0]


@contextmanager
def _watched(
    roles: LoraRoles, selected: int, grouped: bool, number: int = 0
) -> Iterator[tuple[Trace, FlopCounterMode]]:
    trace, flops = Trace(roles.base.config.vocab_size, selected, number), FlopCounterMode(display=False)
    with FusedAttention(grouped), trace, flops:
        yield trace, flops


def training_pass(
    roles: LoraRoles, trained: Sequence[str], loss: Callable[[], Tensor], tokens: int, selected: int, grouped: bool
) -> Pass:
    """`loss` and its backward pass. `selected`: reply tokens of the batch."""
    for role in trained:
        for parameter in roles.parameters(role).values():
            parameter.grad = torch.empty_like(parameter)  # gradients are counted with the adapters
    with _watched(roles, selected, grouped) as (trace, flops):
        value = loss()
        forward, saved = flops.get_total_flops(), trace.live
        value.backward()
    total = flops.get_total_flops()
    return Pass(tokens, saved, trace.peak, trace.peak_wide, forward, total - forward, trace.kernels)


@torch.no_grad()
def reading_pass(roles: LoraRoles, read: Callable[[], Any], tokens: int, selected: int, grouped: bool) -> Pass:
    """`read`, a forward pass from which nothing is learned."""
    with _watched(roles, selected, grouped) as (trace, flops):
        kept = read()
    del kept
    return Pass(tokens, 0.0, trace.peak, trace.peak_wide, flops.get_total_flops(), 0.0, trace.kernels)


@torch.no_grad()
def decoding_pass(
    roles: LoraRoles, role: str | None, prompts: Sequence[Sequence[int]], samples: int, length: int, grouped: bool
) -> Decoding:
    """`samples` replies of `length` tokens to each of the prompts, in one batch: its first pass and one step."""
    count = len(prompts) * samples
    meta = torch.device("meta")
    with roles.use(role) as model, _watched(roles, len(prompts), grouped, samples) as (trace, flops):
        state = DecodingState(model, prompts, samples, length, 0)
        prefill, before = flops.get_total_flops(), trace.kernels
        token_A, _ = sample_token(state.logits_AV, torch.empty(count, dtype=torch.float64, device=meta))
        if length > 1:
            state.advance(token_A, torch.ones(count, dtype=torch.bool, device=meta))
        step, kernels = flops.get_total_flops() - prefill, trace.kernels - before
    layers: Any = state.cache.layers
    cache = sum(t.untyped_storage().nbytes() for layer in layers for t in (layer.keys, layer.values))
    return Decoding(float(cache), trace.peak, prefill, step, kernels)


def optimiser_kernels(roles: LoraRoles, trained: Sequence[str]) -> int:
    """Operations of an optimiser step that is not made of fused kernels, as on CPUs: clipping and AdamW."""
    parameters = [p for role in trained for p in roles.parameters(role).values()]
    adam = torch.optim.AdamW(parameters, foreach=False)
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    with Trace(0, 0) as trace:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=False)
        adam.step()
    return trace.kernels


def operation_seconds(repeats: int = 5) -> float:
    """Seconds that an operation takes at least on this CPU, by way of Python and transformers: those of a model so small that
    nothing else counts."""
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
    }

    def work(device: str) -> None:
        model(input_ids=torch.zeros(1, 4, dtype=torch.long, device=device), use_cache=False).logits.sum().backward()

    model: Any = LlamaForCausalLM(LlamaConfig(vocab_size=16, **shape))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work("cpu")
        seconds.append(time.perf_counter() - began)
    model = model.to("meta")
    with FusedAttention(), Trace(16, 0) as trace:
        work("meta")
    return min(seconds) / trace.kernels
