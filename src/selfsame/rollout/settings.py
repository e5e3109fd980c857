"""Settings of sampling."""

from __future__ import annotations

from pydantic import Field

from selfsame.settings import Settings


class SamplingSettings(Settings):
    """How replies are sampled when they are evaluated or shown to people (training samples from the full softmax)."""

    max_new_tokens: int = Field(default=32, ge=1)
    """Longest reply in tokens, its end token included."""
    temperature: float = Field(default=0.7, ge=0)
    """0: the most likely token."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Sample from the smallest set of tokens with this much probability (nucleus)."""
    retries: int = Field(default=0, ge=0, le=16)
    """A reply that says an own earlier turn, or itself, again nearly word for word is sampled anew, up to so many times; the
    last one stands. (Not at temperature 0.) Where the best of several is taken, it is one that does not, if there is one."""
    batch_size: int = Field(default=64, ge=1)
    """Replies sampled together."""
