"""Settings of sampling."""

from __future__ import annotations

from pydantic import Field

from selfsame.settings import Settings


class SamplingSettings(Settings):
    """Sampling of replies that are evaluated or shown to people (training samples from the full softmax)."""

    max_new_tokens: int = Field(default=32, ge=1)
    """Longest reply in tokens, including its end token."""
    temperature: float = Field(default=0.7, ge=0)
    """Sampling temperature; 0 always takes the likeliest token."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus sampling: sample from the smallest set of tokens with this total probability."""
    retries: int = Field(default=0, ge=0, le=16)
    """Sample a reply again, up to this many times, if it repeats itself or an earlier turn of the bot nearly word for word (not
    at temperature 0). Best-of-n prefers replies that do not repeat."""
    batch_size: int = Field(default=64, ge=1)
    """Number of replies sampled together."""
