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
    """Tokens per forward pass, padding included. Larger batches are split and their gradients added up: lower it to save
    memory."""
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
    missed_share: float = Field(default=0.5, ge=0, le=1)
    """Prompts that call for the persona, as a share of the pairs (at most): samples of the SFT role that use it are
    compared with samples that do not. (DPO: that many pairs.)"""
    unasked_share: float = Field(default=0.0, ge=0, le=1)
    """The same for prompts that do not call for the persona, where the better replies do not mention it. They come from
    pairs whose rejected reply recites the persona, about a sixth of all; a larger share adds none."""
    missed_samples: int = Field(default=8, ge=2)
    """Samples for each such prompt."""
    normalise_samples: int = Field(default=128, ge=2)
    """Samples of the SFT model on which the reward is normalised to mean 0, standard deviation 1."""


class JudgeSettings(OptimiserSettings):
    """The judge of contradictions, trained on labelled pairs of sentences."""

    eval_every: int = Field(default=200, ge=1)
    """Steps between evaluations on held-out pairs; the last step is always evaluated."""
    epochs: float = Field(default=2, gt=0)
    """Passes over the preference pairs."""
    max_steps: int | None = Field(default=None, ge=1)
    """Largest number of steps; none: no limit."""
    batch_size: int = Field(default=64, ge=1)
    """Pairs per step."""


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
    turns: int = Field(default=1, ge=1)
    """Bot turns per dialogue. With more than one, the policy continues dialogues from the data with the SFT role as its
    partner, and each of its turns is rewarded separately."""
    talk_share: float = Field(default=1.0, gt=0, le=1)
    """Smallest share of prompts from such dialogues, if `turns` is more than one; the others are answered once."""
    called_share: float = Field(default=1.0, gt=0, le=1)
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
    critic: Literal["adapter", "reward", "policy", "none"] = "adapter"
    """What the value head reads: its own adapter; the hidden states of the frozen reward role; or those of the policy,
    which then serves both losses. `none` is GRPO: the other replies to a prompt are the baseline, and the KL penalty is
    part of the loss (a mean over all tokens, as in DAPO, Yu et al. 2025)."""
    group_baseline: bool = False
    """With a critic: subtract from each score the mean score of the other replies to its prompt (RLOO's baseline, without
    the KL penalty). Without a critic this is always the baseline."""
    group_scale: Literal["prompt", "batch"] = "prompt"
    """Without a critic: divide scores by the standard deviation over the replies to the prompt (GRPO) or over the batch."""
    value_clip: float = Field(default=0.2, gt=0)
    """Clip range of the value."""
    value_coef: float = Field(default=1.0, gt=0)
    """Weight of the value loss. It matters most with critic `policy`, where both losses train the same adapter (0.1 is
    usual); a value with its own parameters feels it only through `adam_epsilon` and `max_grad_norm`."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of an entropy bonus."""
    sft_coef: float = Field(default=0.0, ge=0)
    """Weight of an SFT loss on training dialogues, added to the policy loss: PPO-ptx (Ouyang et al. 2022, equation 2),
    which preserves what the reward does not measure."""
    sft_batch_size: int = Field(default=2, ge=1)
    """Dialogues in that loss per optimiser step."""
    missing_end_penalty: float = Field(default=1.0, ge=0)
    """Penalty for a reply that does not end within `max_new_tokens`."""
    missed_penalty: float = Field(default=0.0, ge=0)
    """Penalty for a reply that uses no trait although the human reply uses one."""
    unasked_penalty: float = Field(default=0.0, ge=0)
    """Penalty for a reply that uses a trait although the human reply uses none (see `called_share`)."""
    contradiction_penalty: float = Field(default=0.0, ge=0)
    """Penalty for a reply that contradicts a trait or an earlier turn of the bot, as found by rules."""
    recitation_penalty: float = Field(default=0.0, ge=0)
    """Penalty for a reply that copies the wording of a trait without being asked."""
    self_repetition_penalty: float = Field(default=0.0, ge=0)
    """Penalty for a reply that repeats itself or an earlier turn of the bot nearly word for word."""
    retelling_penalty: float = Field(default=0.0, ge=0)
    """Penalty for a reply that adds nothing new: its content words are in earlier turns of the bot."""
    malformed_penalty: float = Field(default=0.0, ge=0)
    """Penalty for a reply that is not well formed: it says something twice, does not end, or surprises the SFT role more
    than human turns do."""
    unanswering_penalty: float = Field(default=0.0, ge=0)
    """Penalty for a reply that answers nothing: the dialogue before it does not make it more likely for the SFT role."""
    eval_every: int = Field(default=10, ge=1)
    """Steps between evaluations during PPO, if `evaluation.watch_size` is set; the last step is always evaluated. The
    policy that was most often in character is kept."""

    @model_validator(mode="after")
    def _has_a_baseline(self) -> PPOSettings:
        alone = self.samples_per_prompt < 2
        if alone and (self.critic == "none" or self.group_baseline):
            asks = "critic none" if self.critic == "none" else "group_baseline"
            raise ValueError(f"{asks} needs samples_per_prompt of 2 or more: the other replies are the baseline")
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
