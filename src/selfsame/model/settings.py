"""Settings of the base model and its adapters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from selfsame.settings import Settings

BUNDLED = "selfsame-9m"
"""The base model in the package. Other weights get another name, so that no adapter meets a base it was not trained on."""


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
    layers: int | None = Field(default=None, ge=1)
    """Adapters in the last so many blocks only: the blocks below are computed once for a rollout, and less can be learned.
    (Every time where the base has no tokens for the turns' markers: their embeddings are then trained, differently by role.)"""


class ModelSettings(Settings):
    """The frozen base model, its context, device and adapters."""

    base: str = BUNDLED
    """Hub id or folder of a causal language model, or the name of the one in the package."""
    revision: str | None = None
    """Revision (commit, tag) of a hub model."""
    max_length: int = Field(default=512, ge=32)
    """Tokens of a prompt with its reply."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the frozen base and of the products of what is trained, which is stored and updated in float32. `auto`: bfloat16
    where the hardware has it, float16 on older GPUs, float32 else."""
    four_bit: bool = False
    """Load the base in 4-bit NF4 (needs `selfsame-chat[quant]`)."""
    tuning: Literal["lora", "full"] = "lora"
    """`lora`: adapters on one frozen base. `full`: every role is a copy of the model and trained in all its parameters, which
    wants smaller learning rates and takes many times the memory."""
    lora: LoraSettings = LoraSettings()

    @model_validator(mode="after")
    def _is_one_kind_of_tuning(self) -> ModelSettings:
        if self.tuning == "full":
            changed = [
                f"model.lora.{n}"
                for n in LoraSettings.model_fields
                if getattr(self.lora, n) != getattr(LoraSettings(), n)
            ]
            wrong = [*(["model.four_bit"] if self.four_bit else []), *changed]
            if wrong:
                raise ValueError(
                    f"tuning full trains every parameter and has no adapters: leave out {', '.join(wrong)}"
                )
        return self
