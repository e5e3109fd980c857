"""Settings of the training stages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from selfsame.settings import Settings


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
    missed_share: float = Field(default=0.5, ge=0, le=1)
    """At most so many prompts, as a share of the pairs, that call for the persona: samples of the SFT role that keep to it are
    compared with those that do not (DPO: so many pairs of them)."""
    unasked_share: float = Field(default=0.0, ge=0, le=1)
    """The same of prompts that do not call for the persona: there a reply keeps to it by not speaking of it. They are those of
    the pairs whose rejected reply recites, about a sixth of all; a larger share adds none."""
    missed_samples: int = Field(default=8, ge=2)
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
    turns: int = Field(default=1, ge=1)
    """Own turns of a dialogue that a step learns from. With more than one, the policy goes on from some prompts of the data,
    the SFT role speaking for the partner, and each own turn is a prompt (rewarded by itself)."""
    talk_share: float = Field(default=1.0, gt=0, le=1)
    """At least this share of the prompts are turns of such dialogues, where `turns` is more than one; the others are answered
    once."""
    called_share: float = Field(default=1.0, gt=0, le=1)
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
    critic: Literal["adapter", "reward", "policy", "none"] = "adapter"
    """What the value head reads: a role with an adapter of its own; the hidden states of the frozen reward role; those of
    the policy, which then serves both losses. `none`: GRPO, where the other replies to a prompt are the baseline and the KL
    penalty is part of the loss (a mean over all tokens, as in DAPO, Yu et al. 2025)."""
    group_baseline: bool = False
    """With a critic: the mean score (without the KL penalty) of the other replies to the prompt is taken off each score, which
    is RLOO's baseline: the value only has to know what a reply adds to it. (Without a critic they are the baseline anyway.)"""
    group_scale: Literal["prompt", "batch"] = "prompt"
    """Without a critic: whether a score is divided by the spread of the replies to its prompt (GRPO), or of all of them."""
    value_clip: float = Field(default=0.2, gt=0)
    """Clip range of the value."""
    value_coef: float = Field(default=1.0, gt=0)
    """Weight of the value loss. Where the value has parameters of its own this matters beside `adam_epsilon` and
    `max_grad_norm` only; with critic `policy` both losses move the policy's adapter: 0.1 is usual there."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of an entropy bonus."""
    sft_coef: float = Field(default=0.0, ge=0)
    """Weight of the SFT loss of training dialogues mixed into the policy's: PPO-ptx (Ouyang et al. 2022, equation 2), which
    keeps what the reward does not speak of."""
    sft_batch_size: int = Field(default=2, ge=1)
    """Such dialogues for each optimiser step."""
    missing_end_penalty: float = Field(default=1.0, ge=0)
    """Taken off the score of a reply that did not end within `max_new_tokens`."""
    missed_penalty: float = Field(default=0.0, ge=0)
    """Taken off the score of a reply that draws on no trait where the gold reply draws on one."""
    unasked_penalty: float = Field(default=0.0, ge=0)
    """Taken off the score of a reply that draws on a trait where the gold reply draws on none (see `called_share`)."""
    contradiction_penalty: float = Field(default=0.0, ge=0)
    """Taken off the score of a reply that rules find at odds with a trait or an own earlier turn."""
    recitation_penalty: float = Field(default=0.0, ge=0)
    """Taken off the score of a reply that copies the wording of a trait that was not called for."""
    self_repetition_penalty: float = Field(default=0.0, ge=0)
    """Taken off the score of a reply that says an own earlier turn or itself again, nearly word for word."""
    retelling_penalty: float = Field(default=0.0, ge=0)
    """Taken off the score of a reply that tells nothing new: its content words stand in own earlier turns."""
    malformed_penalty: float = Field(default=0.0, ge=0)
    """Taken off the score of a reply that is not well formed: it says something twice, has no end, or surprises the SFT role
    more than people's turns do."""
    unanswering_penalty: float = Field(default=0.0, ge=0)
    """Taken off the score of a reply that what was said before makes no more likely, by the SFT role: it answers nothing."""
    eval_every: int = Field(default=10, ge=1)
    """Steps between looks at held-out people, where a run has a watch; the last step is always looked at. The policy that was
    most often in character is the one that is kept."""

    @model_validator(mode="after")
    def _has_a_baseline(self) -> PPOSettings:
        alone = self.samples_per_prompt < 2
        if alone and (self.critic == "none" or self.group_baseline):
            asks = "critic none" if self.critic == "none" else "group_baseline"
            raise ValueError(f"{asks} needs samples_per_prompt of 2 or more: the other replies are the baseline")
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
