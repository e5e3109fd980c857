"""Settings of evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfsame.settings import Settings


class EvaluationSettings(Settings):
    """Test sets from held-out personas and the intervals around each number."""

    consistency_size: int = Field(default=500, ge=1)
    """Test prompts whose human reply uses the persona (at most this many)."""
    engagement_size: int = Field(default=300, ge=1)
    """Test prompts from anywhere in the held-out dialogues (at most this many)."""
    perplexity_size: int = Field(default=100, ge=1)
    """Held-out dialogues, seen from one side and drawn at random, whose human replies perplexity is computed on; hits at 1
    ranks the human reply to as many prompts."""
    selfplay_size: int = Field(default=24, ge=0)
    """Self-play dialogues, in which the system speaks for two held-out personas (at most one per persona; 0: none)."""
    selfplay_turns: int = Field(default=10, ge=4)
    """Turns of each side in a self-play dialogue."""
    best_of: int = Field(default=0, ge=0)
    """Also evaluate best-of-n for SFT and PPO: the reward model chooses among this many replies (0 or 1: off)."""
    split: Literal["all", "dev", "test"] = "all"
    """Held-out personas to evaluate on: `all`; `dev`, the half that settings are chosen on; or `test`, the half that is
    reported."""
    resamples: int = Field(default=1000, ge=100)
    """Number of bootstrap resamples behind each interval."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Coverage of the confidence intervals."""
    model: Literal["auto", "smollm2-135m", "selfsame-9m"] = "auto"
    """Model that judges whether replies are well formed and answer. `auto`: smollm2-135m if `selfsame base` has prepared
    it, else the toy model in the package. Numbers of the two do not compare; the record names the model."""
    functions: tuple[str, ...] = ()
    """Your own metrics, `path/to/file.py:name` each: a function of prompts, replies and human replies that returns a number
    for each reply (NaN: not scored)."""
    judge: str = "selfsame-judge"
    """Judge of contradictions with the persona or an earlier turn of the bot: selfsame-judge (in the package), `rules`,
    or the hub id or folder of an NLI classifier."""
