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
    """Rank of the LoRA adapters."""
    alpha: int = Field(default=32, ge=1)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update, during training."""
    targets: tuple[str, ...] | None = None
    """Names of the linear layers that get an adapter; none: all linear layers of the blocks."""
    layers: int | None = Field(default=None, ge=1)
    """Put adapters only in this many of the last blocks. The blocks below are then computed once per rollout, which is faster,
    but less can be learned. (No gain if the base lacks the marker tokens, because each role then trains their embeddings.)"""


class ModelSettings(Settings):
    """The frozen base model, its context, device and adapters."""

    base: str = BUNDLED
    """The base model: a hub id, a folder, smollm2-135m (see `selfsame base`), or selfsame-9m, which is in the package."""
    revision: str | None = None
    """Revision (commit, tag) of a hub model."""
    max_length: int = Field(default=512, ge=32)
    """Longest prompt with its reply, in tokens."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; `auto`: on a GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the base model and of matrix products; trained weights are always stored in float32. `auto`: bfloat16
    if the hardware has it, float16 on older GPUs, else float32."""
    four_bit: bool = False
    """Load the base in 4-bit NF4 (needs `selfsame-chat[quant]`)."""
    shard: bool = False
    """Split the base's blocks over the processes of the run (`torchrun`), for a base that does not fit one device: each keeps a
    part and gathers a block while it computes. One process keeps the whole base."""
    tuning: Literal["lora", "full"] = "lora"
    """`lora`: adapters on one frozen base. `full`: each role is a copy of the model with all parameters trained; it needs
    smaller learning rates and many times the memory."""
    lora: LoraSettings = LoraSettings()

    @model_validator(mode="after")
    def _is_one_kind_of_tuning(self) -> ModelSettings:
        if self.tuning == "full":
            changed = [
                f"model.lora.{n}"
                for n in LoraSettings.model_fields
                if getattr(self.lora, n) != getattr(LoraSettings(), n)
            ]
            wrong = [*(f"model.{n}" for n in ("four_bit", "shard") if getattr(self, n)), *changed]
            if wrong:
                raise ValueError(
                    f"tuning full trains every parameter and has no adapters: leave out {', '.join(wrong)}"
                )
        if self.four_bit and self.shard:
            raise ValueError("a 4-bit base cannot be split over processes: leave model.four_bit or model.shard out")
        return self
