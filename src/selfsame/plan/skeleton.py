"""The model of a configuration without its weights: parameters counted, roles added, ready to run."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from selfsame.data.processor import DataProcessor
from selfsame.data.prompt_format import MARKERS
from selfsame.errors import ConfigError
from selfsame.model.attention import MATMUL
from selfsame.model.base import explained, grow_embeddings, load_tokenizer, locate_model, refuse_unsupported
from selfsame.model.fused import FusedLinear
from selfsame.model.load import check_fits
from selfsame.model.lora import LoraRoles
from selfsame.model.peft import LoraLinear
from selfsame.model.settings import ModelSettings
from selfsame.model.trunk import blocks_of
from selfsame.plan.hardware import Hardware

META = torch.device("meta")
NF4_BYTES = 0.5 + (1 + 4 / 256) / 64
"""A weight in 4-bit NF4: half a byte, and for 64 weights a scale of one byte, for 256 scales one of four (Dettmers et al.
2023, double quantisation)."""

GATHERED = 6
"""Blocks of a base that is split over processes which a device holds whole, with what they are gathered through, on the way
back. Measured on a CPU, 16 blocks of 57 MiB over two processes and over four: 5.9 to 6.3."""


def find_processor(settings: ModelSettings) -> DataProcessor | None:
    """The processor of the model's tokenizer; None where there is none on this machine."""
    try:
        return DataProcessor(load_tokenizer(settings.base, settings.revision), settings.max_length)
    except ConfigError:
        return None


def skeleton(settings: ModelSettings, hardware: Hardware, processor: DataProcessor | None) -> LoraRoles:
    """Roles, none yet, on a base without content, computing as it would on the hardware.

    Raises:
        ConfigError: there is no such configuration, or it does not fit the settings.
    """
    if settings.tuning == "full":
        raise ConfigError("selfsame plan knows adapters only: leave model.tuning at lora")
    with explained(settings.base):
        config = AutoConfig.from_pretrained(locate_model(settings.base), revision=settings.revision)
    refuse_unsupported(settings.base, config)
    dtype = hardware.dtype if settings.dtype == "auto" else settings.dtype
    with explained(settings.base), META:
        base: Any = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    base.config.use_cache = False
    known, new = base.get_input_embeddings().weight.shape[0], ()
    if processor is not None:
        with META:
            grow_embeddings(base, processor.tokenizer)
        words = processor.tokenizer.get_vocab()
        new = tuple(sorted(words[m] for m in MARKERS if m in words and words[m] >= known))
    check_fits(settings, base.config)
    base.requires_grad_(False).eval()
    if hardware.is_cpu and dtype == "bfloat16" and base.config._attn_implementation == "sdpa":
        base.set_attn_implementation(MATMUL)
    stand_in: Any = processor or SimpleNamespace(pad_id=0, end_id=0, max_length=settings.max_length)
    return LoraRoles(base, stand_in, settings.lora, new)


def add_role(roles: LoraRoles, role: str) -> None:
    """`Roles.add` without content."""
    with META, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        roles.add(role)


def compute_as_peft(roles: LoraRoles) -> None:
    """Adapters as on layers in four bits: by PEFT's own code."""
    for layer in roles.peft.modules() if roles.peft is not None else ():
        if type(layer) is FusedLinear:
            layer.__class__ = LoraLinear  # pyright: ignore[reportAttributeAccessIssue]


def base_parameters(roles: LoraRoles) -> dict[str, nn.Parameter]:
    """The frozen parameters by name."""
    return {n: p for n, p in roles.base.named_parameters() if not _is_adapter(n)}


def _is_adapter(name: str) -> bool:
    return "lora_" in name or "trainable_tokens" in name


def weight_bytes(roles: LoraRoles, four_bit: bool, parts: int = 1) -> float:
    """Bytes of the frozen base on one of the devices that its blocks are split over."""
    packed = _packed(roles.base) if four_bit else set()
    sizes = {
        name: p.numel() * (NF4_BYTES if id(p) in packed else p.element_size())
        for name, p in base_parameters(roles).items()
    }
    whole = sum(sizes.values())
    if parts == 1:
        return whole
    prefix, blocks = blocks_of(roles.base)
    within = sum(size for name, size in sizes.items() if name.startswith(f"{prefix}."))
    return whole - within + within / parts + min(GATHERED, len(blocks)) * within / len(blocks)


def _packed(base: Any) -> set[int]:
    """Which parameters 4 bits are for: the linear layers' weights, but not the vocabulary head's."""
    head = base.get_output_embeddings()
    layers = (m for m in base.modules() if type(m) in (nn.Linear, Conv1D) and m is not head)
    return {id(m.weight) for m in layers if m.weight.dtype.is_floating_point and not m.weight.requires_grad}


def role_parameters(roles: LoraRoles, role: str) -> int:
    """Parameters of a role, its head's too."""
    return sum(p.numel() for p in roles.parameters(role).values())
