"""Settings of the base model and its adapters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfsame.settings import Settings


class LoraSettings(Settings):
    """The adapters of all roles (Hu et al. 2021, arXiv:2106.09685)."""

    rank: int = Field(default=16, ge=1, le=512)
    """Rank of the update."""
    alpha: int = Field(default=32, ge=1)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in front of the update, while training."""
    targets: tuple[str, ...] | None = None
    """Names of the linear layers that get an adapter; None: all linear layers of the blocks."""


class ModelSettings(Settings):
    """The frozen base model, its context, device and adapters."""

    base: str = "stand-in"
    """Hub id or folder of a causal language model, or `stand-in`: a tiny one that the run pre-trains for itself."""
    revision: str | None = None
    """Revision (commit, tag) of a hub model."""
    max_length: int = Field(default=512, ge=32)
    """Tokens of a prompt with its reply."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the frozen base; adapters and heads are always float32. `auto`: bfloat16 where the hardware has it, float16 on
    older GPUs, float32 else."""
    four_bit: bool = False
    """Load the base in 4-bit NF4 (needs `selfsame[quant]`)."""
    lora: LoraSettings = LoraSettings()


class StandInSettings(Settings):
    """The tiny base model that a run pre-trains where none is given."""

    vocabulary: int = Field(default=2048, ge=512)
    """Size of its byte-level BPE vocabulary."""
    hidden: int = Field(default=192, ge=16)
    """Width."""
    layers: int = Field(default=4, ge=1)
    """Blocks."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    steps: int = Field(default=400, ge=1)
    """Optimiser steps of pre-training."""
    batch_size: int = Field(default=16, ge=1)
    """Dialogues a step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak learning rate (AdamW, warm-up, cosine)."""
