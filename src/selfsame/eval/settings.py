"""Settings of evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfsame.settings import Settings


class EvaluationSettings(Settings):
    """Test sets from held-out personas and the intervals around each number."""

    consistency_size: int = Field(default=500, ge=1)
    """Prompts whose gold reply draws on the persona (at most; all there are, if fewer)."""
    engagement_size: int = Field(default=300, ge=1)
    """Prompts from anywhere in the held-out dialogues."""
    perplexity_size: int = Field(default=100, ge=1)
    """Sides of held-out dialogues, drawn at random, whose gold replies the perplexity is computed on; as many prompts from
    mid-dialogue have their gold reply ranked among twenty."""
    selfplay_size: int = Field(default=24, ge=0)
    """Dialogues that the system leads with itself, each side with a held-out persona of its own (at most as many as there
    are personas; 0: none)."""
    selfplay_turns: int = Field(default=10, ge=4)
    """Own turns of such a dialogue."""
    best_of: int = Field(default=0, ge=0)
    """Evaluate the reward model's best of so many replies of SFT and of PPO, too (0 or 1: not)."""
    people: Literal["all", "choose", "report"] = "all"
    """Which held-out people: all, or one half of them, which settings are chosen on, or the other half, which is reported. A
    persona is always in the same half."""
    watch_size: int = Field(default=0, ge=0)
    """Prompts that call for the persona, as many from mid-dialogue, and as many dialogues for the perplexity, on which PPO's
    policy is looked at every `training.ppo.eval_every` steps (0: none); of the half that settings are chosen on, unless all
    held-out people are evaluated."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind an interval."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Coverage of the intervals."""
    model: Literal["auto", "smollm2-135m", "selfsame-9m"] = "auto"
    """Which base reads replies to say whether they are well formed and answer: `auto` is smollm2-135m where `selfsame base`
    made it ready, else the toy in the package. Numbers of one are not those of the other; the record names it."""
    judge: str = "selfsame-judge"
    """Who says that a reply contradicts the persona or an own earlier turn: the judge in the package, `rules`, or an NLI
    classifier's hub id or folder."""
