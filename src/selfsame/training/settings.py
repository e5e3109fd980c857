"""Settings of the training stages."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from selfsame.settings import Settings

OWN_REWARD = re.compile(r".+\.py:[^\W\d]\w*")
"""How a reward function of one's own is named."""


class OptimiserSettings(Settings):
    """AdamW, gradient clipping, batches."""

    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How it falls after warm-up."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps over which the learning rate rises from zero."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Of AdamW."""
    adam_epsilon: float = Field(default=1e-8, gt=0)
    """Of AdamW; PPO uses 1e-5, as in OpenAI's implementations."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    token_budget: int = Field(default=4096, ge=64)
    """Tokens, padding included, in one forward pass; a batch that has more is split and its gradients are added up."""
    max_skipped: int = Field(default=5, ge=1)
    """The run stops after so many steps in a row with a gradient that is not finite."""


class SFTSettings(OptimiserSettings):
    """Supervised fine-tuning on the own turns of whole dialogues."""

    eval_every: int = Field(default=50, ge=1)
    """Steps between evaluations on held-out data; the last step is always evaluated."""
    epochs: float = Field(default=3, gt=0)
    """Passes over the training dialogues (each counts once from either side)."""
    max_steps: int | None = Field(default=None, ge=1)
    """At most so many steps."""
    batch_size: int = Field(default=16, ge=1)
    """Dialogues a step."""
    validation_size: int = Field(default=64, ge=1)
    """Held-out sides of dialogues in the validation loss, drawn evenly from all of them."""
    persona_weight: float = Field(default=1.0, gt=0)
    """Weight in the loss of those tokens of own turns that are content words of the persona (others: 1)."""


class RewardSettings(OptimiserSettings):
    """The reward model, trained on preference pairs and on comparisons of samples."""

    learning_rate: float = Field(default=5e-4, gt=0, le=1)
    """Peak learning rate."""
    eval_every: int = Field(default=50, ge=1)
    """Steps between evaluations on held-out data; the last step is always evaluated."""
    epochs: float = Field(default=2, gt=0)
    """Passes over the pairs."""
    max_steps: int | None = Field(default=None, ge=1)
    """At most so many steps."""
    batch_size: int = Field(default=16, ge=1)
    """Pairs a step, or prompts whose samples are compared."""
    sampled_share: float = Field(default=0.5, ge=0, le=1)
    """Pairs added whose rejected reply is a sample of the SFT role, as a share of the other pairs: without them the reward
    never saw the replies that PPO begins with."""
    comparison_share: float = Field(default=0.5, ge=0, le=1)
    """At most so many prompts, as a share of the pairs, that call for the persona: samples of the SFT role that keep to it are
    compared with those that do not (DPO: so many pairs of them)."""
    off_topic_share: float = Field(default=0.0, ge=0, le=1)
    """The same of prompts that do not call for the persona: there a reply keeps to it by not speaking of it. They are those of
    the pairs whose rejected reply recites, about a sixth of all; a larger share adds none."""
    comparison_samples: int = Field(default=8, ge=2)
    """Samples to such a prompt."""
    normalise_samples: int = Field(default=128, ge=2)
    """Samples of the SFT model on which the reward is normalised to mean 0, standard deviation 1."""


class JudgeSettings(OptimiserSettings):
    """The judge of contradictions, trained on labelled pairs of sentences."""

    eval_every: int = Field(default=200, ge=1)
    """Steps between evaluations on held-out pairs; the last step is always evaluated."""
    epochs: float = Field(default=2, gt=0)
    """Passes over the pairs."""
    max_steps: int | None = Field(default=None, ge=1)
    """At most so many steps."""
    batch_size: int = Field(default=64, ge=1)
    """Pairs a step."""


class RewardWeights(Settings):
    """What a reply is paid for in PPO: a weighted sum. Rules are 1 where a reply breaks them, so their weights are negative or
    0. A function of your own has its weight under `path/to/file.py:name` (see `training/rewards.py`)."""

    model_config = ConfigDict(extra="allow")

    reward_model: float = Field(default=1.0, ge=0)
    """The reward model's score, normalised to mean 0 and standard deviation 1 on samples of the SFT model."""
    ungrounded: float = Field(default=0.0, le=0)
    """The reply draws on no trait where the gold reply draws on one."""
    off_topic_grounding: float = Field(default=0.0, le=0)
    """The reply draws on a trait where the gold reply draws on none (see `grounded_share`)."""
    contradiction: float = Field(default=0.0, le=0)
    """Rules find the reply at odds with a trait or with an earlier turn of the bot."""
    copying_unprompted: float = Field(default=0.0, le=0)
    """The reply copies the wording of a trait that the gold reply does not draw on."""
    repetition: float = Field(default=0.0, le=0)
    """The reply repeats itself or an earlier turn of the bot, nearly word for word."""
    nothing_new: float = Field(default=0.0, le=0)
    """The content words of the reply all stand in earlier turns of the bot."""
    malformed: float = Field(default=0.0, le=0)
    """The reply is not well formed: it says something twice, has no end, or surprises the SFT role more than people's turns
    do."""
    no_answer: float = Field(default=0.0, le=0)
    """What was said before makes the reply no more likely, by the SFT role."""
    missing_eos: float = Field(default=-1.0, le=0)
    """The reply did not end within `max_new_tokens`."""

    @model_validator(mode="before")
    @classmethod
    def _extras_are_functions(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        own = {name: weight for name, weight in given.items() if name not in cls.model_fields}
        for name, weight in own.items():
            if not OWN_REWARD.fullmatch(str(name)):
                near = difflib.get_close_matches(str(name), list(cls.model_fields), 1, 0.6)
                raise ValueError(
                    f"unknown reward {name!r}{f' - did you mean {near[0]}?' if near else ''}; a function of your own is named"
                    " path/to/file.py:name"
                )
            try:
                own[name] = float(weight)
            except (TypeError, ValueError):
                own[name] = math.nan
            if isinstance(weight, bool) or not math.isfinite(own[name]):
                raise ValueError(f"the weight of {name} is {weight!r}: give a number")
        return {**given, **own}

    @property
    def functions(self) -> dict[str, float]:
        """`path/to/file.py:name` -> weight of the user's own functions."""
        return dict(self.model_extra or {})


class PPOSettings(OptimiserSettings):
    """Proximal policy optimisation against the reward model."""

    learning_rate: float = Field(default=3e-4, gt=0, le=1)
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How it falls after warm-up."""
    adam_epsilon: float = Field(default=1e-5, gt=0)
    """Of AdamW."""
    steps: int = Field(default=60, ge=1)
    """Rollouts, each followed by `epochs` passes over it."""
    prompts_per_step: int = Field(default=16, ge=1)
    """Prompts in a rollout."""
    grounded_share: float = Field(default=1.0, gt=0, le=1)
    """This share of the prompts of the data call for the persona (the gold reply draws on a trait); the others are any other
    own turns. With 1 others fill up only what the data lacks, and little tells the policy when to speak of something else."""
    samples_per_prompt: int = Field(default=4, ge=1)
    """Replies sampled to each prompt."""
    epochs: int = Field(default=4, ge=1)
    """Passes over each rollout."""
    minibatches: int = Field(default=1, ge=1)
    """Optimiser steps a pass."""
    max_new_tokens: int = Field(default=32, ge=1)
    """Longest reply in tokens, its end token included."""
    temperature: float = Field(default=1.0, gt=0)
    """Of sampling, and of every log-probability."""
    kl_coef: float = Field(default=0.05, ge=0)
    """Weight of the per-token KL penalty against the SFT role (the first, if `kl_target` is set)."""
    kl_target: float | None = Field(default=None, gt=0)
    """Nats per reply that the coefficient is steered to; None: the coefficient is fixed."""
    kl_horizon: int = Field(default=1000, ge=1)
    """Episodes over which it is steered."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """Lambda of the advantage estimate."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """Clip range of the probability ratio."""
    advantage_estimator: Literal["gae", "gae_rloo", "rloo", "grpo"] = "gae"
    """`gae`: generalised advantage estimation with a value model. `gae_rloo`: the same, after the mean score of the other
    replies to the prompt is taken off each score, so that the value only has to know what a reply adds to it. Without a value
    model: `rloo`, the reward less the mean reward of the other replies (Ahmadian et al. 2024); `grpo`, the score normalised
    within the replies to its prompt, with the KL penalty in the loss (Shao et al. 2024; a mean over all tokens, as in DAPO, Yu
    et al. 2025)."""
    value_model: Literal["adapter", "reward_states", "policy_states"] = "adapter"
    """What the value head reads, where there is one: an adapter of its own; the hidden states of the frozen reward role; those
    of the policy, which then serves both losses."""
    value_clip: float = Field(default=0.2, gt=0)
    """Clip range of the value."""
    value_coef: float = Field(default=1.0, gt=0)
    """Weight of the value loss. Where the value has parameters of its own this matters beside `adam_epsilon` and
    `max_grad_norm` only; with `policy_states` both losses move the policy's adapter: 0.1 is usual there."""
    rewards: RewardWeights = RewardWeights()
    """What a reply is paid for."""
    eval_every: int = Field(default=10, ge=1)
    """Steps between evaluations of the policy on held-out people, where `eval_size` is not 0; the last step is always
    evaluated. The policy that was most often in character is the one that is kept."""
    eval_size: int = Field(default=0, ge=0)
    """Held-out prompts of such an evaluation that call for the persona, as many from mid-dialogue, and as many dialogues for
    the perplexity (0: no evaluation while training). They are of the `dev` half, unless `evaluation.split` is `all`."""

    @property
    def value_source(self) -> str | None:
        """`value_model`; None where the advantages need no value."""
        return self.value_model if self.advantage_estimator in ("gae", "gae_rloo") else None

    @model_validator(mode="after")
    def _has_a_baseline(self) -> PPOSettings:
        if self.samples_per_prompt < 2 and self.advantage_estimator != "gae":
            raise ValueError(
                f"advantage_estimator {self.advantage_estimator} needs samples_per_prompt of 2 or more: the other replies are"
                " the baseline"
            )
        return self


class DPOSettings(OptimiserSettings):
    """Direct preference optimisation on the reward model's pairs, those of samples too (`training.reward` says how many)."""

    learning_rate: float = Field(default=3e-4, gt=0, le=1)
    """Peak learning rate."""
    eval_every: int = Field(default=50, ge=1)
    """Steps between evaluations on held-out data; the last step is always evaluated."""
    epochs: float = Field(default=1, gt=0)
    """Passes over the pairs."""
    max_steps: int | None = Field(default=None, ge=1)
    """At most so many steps."""
    batch_size: int = Field(default=16, ge=1)
    """Pairs a step."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the SFT role."""


class TrainingSettings(Settings):
    """The stages."""

    sft: SFTSettings = SFTSettings()
    reward: RewardSettings = RewardSettings()
    ppo: PPOSettings = PPOSettings()
    dpo: DPOSettings = DPOSettings()
