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
    """Learning-rate schedule after warm-up."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from zero."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""
    adam_epsilon: float = Field(default=1e-8, gt=0)
    """Epsilon of AdamW; PPO uses 1e-5, as in OpenAI's implementations."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm."""
    token_budget: int = Field(default=4096, ge=64)
    """Tokens per forward pass, padding included; on a CPU 1,024 at the most. Larger batches are split and their gradients
    added up: lower it to save memory."""
    max_skipped: int = Field(default=5, ge=1)
    """Stop the run after this many steps in a row with a gradient that is not finite."""


class SFTSettings(OptimiserSettings):
    """Supervised fine-tuning on the bot's turns of whole dialogues."""

    eval_every: int = Field(default=50, ge=1)
    """Steps between evaluations on held-out data; the last step is always evaluated."""
    epochs: float = Field(default=3, gt=0)
    """Passes over the training dialogues (each is seen from both sides)."""
    max_steps: int | None = Field(default=None, ge=1)
    """Largest number of steps; none: no limit."""
    batch_size: int = Field(default=16, ge=1)
    """Dialogues per step."""
    validation_size: int = Field(default=64, ge=1)
    """Held-out dialogues, seen from one side, in the validation loss; spread evenly over all of them."""
    start_from: str = ""
    """Weights that training begins with: a run (its SFT), `RUN:ppo` (its policy), or an adapter folder; empty: the base."""
    persona_weight: float = Field(default=1.0, gt=0)
    """Loss weight of tokens in the bot's turns that are content words of its persona (other tokens: 1)."""


class RewardSettings(OptimiserSettings):
    """The reward model, trained on preference pairs and on comparisons of samples."""

    learning_rate: float = Field(default=5e-4, gt=0, le=1)
    """Peak learning rate."""
    eval_every: int = Field(default=50, ge=1)
    """Steps between evaluations on held-out data; the last step is always evaluated."""
    epochs: float = Field(default=2, gt=0)
    """Passes over the preference pairs."""
    max_steps: int | None = Field(default=None, ge=1)
    """Largest number of steps; none: no limit."""
    batch_size: int = Field(default=16, ge=1)
    """Pairs, or prompts with compared samples, per step."""
    sampled_share: float = Field(default=0.5, ge=0, le=1)
    """Additional pairs whose rejected reply is sampled from the SFT role, as a share of the other pairs. Without them the
    reward model has never seen replies like those PPO starts with."""
    comparison_share: float = Field(default=0.5, ge=0, le=1)
    """Prompts whose human reply uses a trait, as a share of the pairs at most: samples of the SFT role that keep to the persona
    are compared with those that do not (DPO: this many pairs of them)."""
    off_topic_share: float = Field(default=0.0, ge=0, le=1)
    """The same for prompts whose human reply uses no trait: there a reply keeps to the persona by not mentioning it. They come
    from the pairs whose rejected reply recites, about a sixth of all."""
    comparison_samples: int = Field(default=8, ge=2)
    """Samples for each such prompt."""
    normalise_samples: int = Field(default=128, ge=2)
    """Samples of the SFT model on which the reward is normalised to mean 0, standard deviation 1."""


class RewardWeights(Settings):
    """What a reply is paid for in PPO: a weighted sum. Rules are 1 where a reply breaks them, so their weights are negative or
    0. A function of your own has its weight under `path/to/file.py:name` (see `training/rewards.py`)."""

    model_config = ConfigDict(extra="allow")

    reward_model: float = Field(default=1.0, ge=0)
    """The reward model's score, normalised to mean 0 and standard deviation 1 on samples of the SFT model."""
    ungrounded: float = Field(default=0.0, le=0)
    """The reply uses no trait where the gold reply uses one."""
    off_topic_grounding: float = Field(default=0.0, le=0)
    """The reply uses a trait where the gold reply uses none (see `grounded_share`)."""
    contradiction: float = Field(default=0.0, le=0)
    """By rules, the reply contradicts a trait or an earlier turn of the bot."""
    copying_unprompted: float = Field(default=0.0, le=0)
    """The reply copies the wording of a trait that the gold reply does not use."""
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
    """Learning-rate schedule after warm-up."""
    adam_epsilon: float = Field(default=1e-5, gt=0)
    """Epsilon of AdamW."""
    steps: int = Field(default=60, ge=1)
    """Number of PPO steps. Each samples a rollout and makes `epochs` passes over it."""
    prompts_per_step: int = Field(default=16, ge=1)
    """Prompts per step."""
    grounded_share: float = Field(default=1.0, gt=0, le=1)
    """Share of prompts that call for the persona (the human reply uses a trait); the others are any other turns. At 1 the
    policy hardly learns when to talk about something else."""
    samples_per_prompt: int = Field(default=4, ge=1)
    """Replies sampled for each prompt."""
    epochs: int = Field(default=4, ge=1)
    """Passes over each rollout."""
    minibatches: int = Field(default=1, ge=1)
    """Optimiser steps per pass."""
    max_new_tokens: int = Field(default=32, ge=1)
    """Longest reply in tokens, including its end token."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature of sampling and of all log-probabilities."""
    kl_coef: float = Field(default=0.05, ge=0)
    """Weight of the per-token KL penalty against the SFT role (its initial value, if `kl_target` is set)."""
    kl_target: float | None = Field(default=None, gt=0)
    """KL in nats per reply that the weight is adapted to reach; none: the weight is fixed."""
    kl_horizon: int = Field(default=1000, ge=1)
    """Episodes over which the weight adapts."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount factor."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """Clip range of the probability ratio."""
    advantage_estimator: Literal["gae", "gae_rloo", "rloo", "grpo"] = "gae"
    """`gae`: generalised advantage estimation with a value model. `gae_rloo`: the same, after the mean score of the other
    replies to the prompt is subtracted from each score, so that the value has less to learn. Without a value model: `rloo`,
    the reward less the mean reward of the other replies (Ahmadian et al. 2024); `grpo`, the score normalised within the replies
    to its prompt, with the KL penalty in the loss (Shao et al. 2024; a mean over all tokens, as in DAPO, Yu et al. 2025)."""
    value_model: Literal["adapter", "reward_states", "policy_states"] = "adapter"
    """What the value head reads: its own adapter; the hidden states of the frozen reward role; or those of the policy, which
    then serves both losses."""
    value_clip: float = Field(default=0.2, gt=0)
    """Clip range of the value."""
    value_coef: float = Field(default=1.0, gt=0)
    """Weight of the value loss. It matters most with `policy_states`, where both losses train the same adapter (0.1 is
    usual); a value with its own parameters feels it only through `adam_epsilon` and `max_grad_norm`."""
    rewards: RewardWeights = RewardWeights()
    """What a reply is paid for."""
    vllm: str | None = None
    """Address of a vLLM server that samples the rollouts, such as `http://127.0.0.1:8000`; none: they are sampled here."""
    eval_every: int = Field(default=10, ge=1)
    """Steps between evaluations during PPO, if `eval_size` is set; the last step is always evaluated. The policy that was most
    often in character is kept."""
    eval_size: int = Field(default=0, ge=0)
    """Size of the test set on which the policy is evaluated during PPO (0: no evaluation). It comes from the `dev` half, unless
    `evaluation.split` is `all`."""

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
    """Direct preference optimisation on the reward model's pairs, including sampled ones (see `training.reward`)."""

    learning_rate: float = Field(default=3e-4, gt=0, le=1)
    """Peak learning rate."""
    eval_every: int = Field(default=50, ge=1)
    """Steps between evaluations on held-out data; the last step is always evaluated."""
    epochs: float = Field(default=1, gt=0)
    """Passes over the preference pairs."""
    max_steps: int | None = Field(default=None, ge=1)
    """Largest number of steps; none: no limit."""
    batch_size: int = Field(default=16, ge=1)
    """Pairs per step."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the constraint towards the SFT role."""


class TrainingSettings(Settings):
    """The stages."""

    sft: SFTSettings = SFTSettings()
    reward: RewardSettings = RewardSettings()
    ppo: PPOSettings = PPOSettings()
    dpo: DPOSettings = DPOSettings()
