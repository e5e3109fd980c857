"""Proximal policy optimisation (Schulman et al. 2017) of replies, as in RLHF (Ziegler et al. 2019; Ouyang et al. 2022).

One step: sample replies to some prompts with the `policy` role; score them with the frozen `reward` role; take off the KL
to the frozen `sft` role, token by token; estimate advantages with the `value` role; then pass over the same replies several
times, each time moving the policy uphill within the clip range and the value towards the returns. All four roles are
adapters on one frozen base; `PPOSettings.critic` names cheaper ways to a value, or none (GRPO, Shao et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsame.data.keywords import TraitMatcher
from selfsame.errors import DataError, RunError
from selfsame.model import parallel
from selfsame.model.branches import hidden_states, logprobs_of, source_states
from selfsame.model.heads import RewardModel
from selfsame.model.roles import Roles
from selfsame.rollout.collect import Rollout, collect_rollout
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.selfplay import converse
from selfsame.training.advantages import (
    KLController,
    explained_variance,
    gae,
    group_advantages,
    less_siblings,
    masked_mean,
    shaped_rewards,
    whiten,
)
from selfsame.training.experience import Experience, Part, parts_of
from selfsame.training.loop import MINIBATCH_ORDER, Record, batch_indices, fit
from selfsame.training.losses import approximate_kl, clip_fraction, policy_loss, value_loss
from selfsame.training.penalties import Penalties, Sense
from selfsame.training.settings import PPOSettings, SFTSettings
from selfsame.training.sft import Part as SFTPart
from selfsame.training.sft import SFTTrainer
from selfsame.training.shown import answers
from selfsame.types import Example, Persona, Prompt

BEST_BY = "watch_in_character"
"""What the watch says of the policy that is kept: the best one, which need not be the last."""
BEST = "best"
"""The role in which the best policy so far waits for the end."""


class PPOTrainer:
    """Trains the `policy` role (from `sft`) and the `value` role (from `reward`), which they are when training begins.

    Args:
        roles: a model with the roles `sft` and `reward`.
        prompts: what the policy answers while training.
        called: the traits that each prompt calls for, as indices; None, as a whole or for a prompt: not known.
        partners: the persona of whom the policy talks with from each prompt, where `settings.turns` is more than one.
        matcher: says which traits a reply draws on (see `Penalties`).
        dialogues: sides of dialogues that the policy goes on learning, where `settings.sft_coef` is not 0.
        sft: how they were weighted in SFT; from another loss its first steps would undo what SFT learned.
        watch: gives numbers of the roles as they are, for the record; nothing is learned from them.
        settings: see `PPOSettings`.
        seed: of prompts, samples and minibatches.
        record: where checkpoints, metrics and samples go; None: nowhere.
        shown: held-out prompts whose replies are written to samples.jsonl.
        sense: says which replies make sense (see `Penalties`); another model than the one that evaluates.
        distrusted: kinds of pairs that the reward model ranks below chance. A reply with such a fault is paid no more than
            SFT's average reply.
    """

    name = "ppo"
    best: float | None
    """What the watch said of the best policy so far."""

    def __init__(
        self,
        roles: Roles,
        *,
        prompts: Sequence[Prompt],
        called: Sequence[Sequence[int] | None] | None = None,
        partners: Sequence[Persona] | None = None,
        matcher: TraitMatcher | None = None,
        dialogues: Sequence[Example] = (),
        sft: SFTSettings = SFTSettings(),
        settings: PPOSettings = PPOSettings(),
        seed: int = 0,
        record: Record | None = None,
        shown: Sequence[Prompt] = (),
        watch: Callable[[Roles], dict[str, float]] | None = None,
        sense: Sense | None = None,
        distrusted: Collection[str] = (),
    ) -> None:
        self.roles, self.distrusted = roles, distrusted
        if not prompts:
            raise DataError("there is no prompt to train on")
        for role in ("sft", "reward"):
            if role not in self.roles.names:
                raise RunError(f"PPO needs the role {role!r}: train the stage {role} first")
        self.prompts, self.settings, self.seed, self.record, self.shown = prompts, settings, seed, record, shown
        self.steps, self.eval_every, self.watch = settings.steps, settings.eval_every if watch else None, watch
        self.penalties = Penalties(settings, prompts, called, matcher, sense)
        self.partners = dict(zip(prompts, partners or [()] * len(prompts), strict=True))
        self._name_critic(settings.critic)
        self.begin(kept=roles.names)
        mixed = sft.model_copy(update={"batch_size": settings.sft_batch_size})
        self.sft = (
            SFTTrainer(roles, train=dialogues, settings=mixed, seed=seed, role="policy") if settings.sft_coef else None
        )
        self.reward_model = RewardModel(self.roles, settings.token_budget)
        self.engine = RolloutEngine(self.roles)

    def begin(self, kept: Sequence[str] = ()) -> None:
        """The roles, but for those that are `kept`, and the KL coefficient as they are before the first step."""
        s = self.settings
        self.kl, self.best = KLController(s.kl_coef, s.kl_target, s.kl_horizon), None
        if "policy" not in kept:
            self.roles.add("policy", like="sft")
        if BEST not in kept:
            self.roles.remove(BEST)
        if "value" not in kept:
            self.roles.remove("value")
            if self.critic is not None:
                add = self.roles.add if self.critic == "value" else self.roles.add_head
                add("value", like="reward")

    def train(self) -> None:
        """Trains to the last step, or goes on from the newest checkpoint."""
        fit(self, self.record)

    # --- a step: sample, score, reward, advantage, update, record ---------------------------------------------------

    def collect(self, step: int) -> Experience:
        """Samples and values replies to the prompts of a step; then steers the KL coefficient for the next one."""
        prompts = self.prompts_of(step)
        experience = self.evaluate_rollout(prompts, self.rollout(prompts, step))
        self.kl.update(experience.kl, len(experience.rollout.replies))
        return experience

    def prompts_of(self, step: int) -> list[Prompt]:
        """What the policy answers in a step: prompts of the data, and what comes of some of them in `settings.turns` turns."""
        s = self.settings
        talks = math.ceil(s.talk_share * s.prompts_per_step / s.turns) if s.turns > 1 else 0
        count = talks + max(0, s.prompts_per_step - s.turns * talks)
        prompts = [self.prompts[i] for i in batch_indices(len(self.prompts), count, step, self.seed)]
        partners = [self.partners[prompt] for prompt in prompts[:talks]]
        how = {"max_new_tokens": s.max_new_tokens, "temperature": s.temperature, "seed": self.seed, "step": step}
        return [*converse(self.engine, prompts[:talks], partners, s.turns, **how), *prompts[talks:]]

    def rollout(self, prompts: Sequence[Prompt], step: int = 0) -> Rollout:
        """Replies of the policy to some prompts, with what was measured on them."""
        s, processor = self.settings, self.roles.processor
        encoded = [processor.encode_prompt(p, s.max_new_tokens) for p in prompts]
        rollout = collect_rollout(
            self.engine,
            self.reward_model,
            encoded,
            s.samples_per_prompt,
            s.max_new_tokens,
            s.temperature,
            self.seed,
            step,
            s.token_budget,
            self.critic,
        )
        asked = [prompt for prompt in prompts for _ in range(s.samples_per_prompt)]
        texts = [processor.decode_reply(reply.ids) for reply in rollout.replies]
        return replace(rollout, faults=self.penalties.find(asked, texts))

    def _name_critic(self, kind: str) -> None:
        """`trained`: roles with parameters of their own; `passes`: roles that take forward passes in an update; `critic`: the
        role whose hidden states the value head reads."""
        self.trained: tuple[str, ...] = ("policy",) if kind == "none" else ("policy", "value")
        self.passes: tuple[str, ...] = self.trained if kind in ("adapter", "reward") else ("policy",)
        self.critic = {"adapter": "value", "none": None}.get(kind, kind)

    def scores(self, rollout: Rollout) -> Tensor:
        """(N,) rewards of whole replies, less the penalties for a missing end and for faults."""
        scores_N = rollout.scores_N
        if (unpaid_N := self.penalties.distrusted(rollout.faults, self.distrusted)) is not None:
            scores_N = torch.where(unpaid_N, scores_N.clamp(max=0.0), scores_N)  # 0: the mean of SFT's replies
        scores_N = scores_N - self.settings.missing_end_penalty * ~rollout.ended_N
        return scores_N - self.penalties.total(rollout.faults) if rollout.faults else scores_N

    def compute_rewards(self, rollout: Rollout) -> Tensor:
        """(N, R) rewards: the KL penalty on every token, the score on the last, less the penalties (see `scores`) and, with a
        critic and `group_baseline`, less what the other replies to the prompt got."""
        tensors, scores_N = (rollout.logprobs_NR, rollout.ref_logprobs_NR, rollout.reply_mask_NR), self.scores(rollout)
        if self.settings.group_baseline and self.critic:
            scores_N = less_siblings(scores_N, rollout.samples_per_prompt)
        return shaped_rewards(scores_N, *tensors, self.kl.coef)

    def evaluate_rollout(self, prompts: Sequence[Prompt], rollout: Rollout) -> Experience:
        """Rewards, normalised advantages and returns of a rollout."""
        s, mask_NR = self.settings, rollout.reply_mask_NR
        rewards_NR = self.compute_rewards(rollout)
        advantages_NR, returns_NR = gae(rewards_NR, rollout.values_NR, mask_NR, s.gamma, s.lam)
        if self.critic is None:
            groups = rollout.samples_per_prompt, mask_NR, s.group_scale
            advantages_NR = group_advantages(self.scores(rollout), *groups)
        else:
            advantages_NR = whiten(advantages_NR, mask_NR)
        kl_NR = (rollout.logprobs_NR - rollout.ref_logprobs_NR) * mask_NR
        kl = float(kl_NR.sum(1).mean())
        return Experience(prompts, rollout, rewards_NR, advantages_NR, returns_NR, kl, self.kl.coef)

    def minibatches(self, batch: Experience, step: int) -> Iterator[list[Part | SFTPart]]:
        """`epochs` passes over the rollout in shuffled minibatches. A prompt and all its replies stay together; the policy's
        parts come first, then the value's, so that only one role's activations are alive at a time."""
        count, s = len(batch.rollout.prompts), self.settings
        where = s.token_budget, self.roles.processor.pad_id, self.roles.device
        for epoch in range(s.epochs):
            order = np.random.default_rng([MINIBATCH_ORDER, self.seed, step, epoch]).permutation(count)
            for n, chosen in enumerate(np.array_split(order, min(s.minibatches, count))):
                prompts = [int(p) for p in chosen]
                tokens = sum(len(batch.rollout.replies[i].ids) for p in prompts for i in batch.rollout.episodes(p))
                mine = parallel.share(prompts)
                mixed = self._dialogues((step * s.epochs + epoch) * s.minibatches + n)
                yield [*mixed, *(part for role in self.passes for part in parts_of(batch, mine, role, tokens, *where))]

    def loss(self, part: Part | SFTPart) -> tuple[Tensor, dict[str, float]]:
        """The clipped policy loss (less an entropy bonus), the clipped value loss, or both, per reply token; or the weighted
        SFT loss of dialogues."""
        if isinstance(part, SFTPart):
            assert self.sft is not None
            loss, statistics = self.sft.loss(part)
            return self.settings.sft_coef * loss, {"sft_loss": statistics["loss"]}
        if part.role == "value" and part.states_MH is not None:
            return self._value_loss(part, part.states_MH)
        with self.roles.use(part.role) as model:
            states_MH = source_states(part.batch, hidden_states(model, part.batch))
            if part.role == "value":
                return self._value_loss(part, states_MH)
            loss, statistics = self._policy_loss(part, model, states_MH)
        if self.critic == "policy":
            value, more = self._value_loss(part, states_MH)
            loss, statistics = loss + value, statistics | more
        return loss, statistics

    def _policy_loss(self, part: Part, model: Any, states_MH: Tensor) -> tuple[Tensor, dict[str, float]]:
        s, mask_NR = self.settings, part.batch.reply_mask_NR
        logprobs_NR, entropy_NR = logprobs_of(model, part.batch, states_MH, s.temperature, True, bool(s.entropy_coef))
        assert entropy_NR is not None
        surrogate = policy_loss(logprobs_NR, part.old_logprobs_NR, part.advantages_NR, mask_NR, s.clip) / part.tokens
        entropy = entropy_NR.sum() / part.tokens
        loss = surrogate - s.entropy_coef * entropy
        if self.critic is None:  # GRPO: the KL penalty is no reward but a loss (its equation 4)
            loss = loss + part.kl_coef * approximate_kl(part.ref_logprobs_NR, logprobs_NR, mask_NR) / part.tokens
        with torch.no_grad():
            clipped = clip_fraction(logprobs_NR, part.old_logprobs_NR, mask_NR, s.clip) / part.tokens
            approx_kl = approximate_kl(logprobs_NR, part.old_logprobs_NR, mask_NR) / part.tokens
        statistics = {"policy_loss": surrogate, "entropy": entropy, "clip_fraction": clipped, "approx_kl": approx_kl}
        return loss, {name: value.item() for name, value in statistics.items()}

    def _value_loss(self, part: Part, states_MH: Tensor) -> tuple[Tensor, dict[str, float]]:
        s, batch = self.settings, part.batch
        values_NR = batch.scatter(self.roles.heads["value"](states_MH))
        loss = (
            value_loss(values_NR, part.old_values_NR, part.returns_NR, batch.reply_mask_NR, s.value_clip) / part.tokens
        )
        return s.value_coef * loss, {"value_loss": loss.item()}

    def metrics(self, batch: Experience) -> dict[str, float]:
        """Statistics of a rollout."""
        rollout, mask_NR = batch.rollout, batch.rollout.reply_mask_NR
        return {
            "reward": float(rollout.scores_N.mean()),
            "reward_std": float(rollout.scores_N.std(correction=0)),
            "kl": batch.kl,
            "kl_coef": batch.kl_coef,
            "return": float(batch.rewards_NR.sum(1).mean()),
            "advantage": float(masked_mean(batch.advantages_NR, mask_NR)),
            "value": float(masked_mean(rollout.values_NR, mask_NR)),
            "explained_variance": explained_variance(rollout.values_NR, batch.returns_NR, mask_NR),
            "reply_length": float(mask_NR.sum(1).float().mean()),
            "ended": float(rollout.ended_N.float().mean()),
            "episodes": float(len(rollout.replies)),
            **self.penalties.shares(batch.prompts, rollout.faults),
        }

    def evaluate(self) -> dict[str, float]:
        """What the watch says; nothing without one. The policy is put aside where it is the best so far."""
        found = self.watch(self.roles) if self.watch else {}
        value = found.get(BEST_BY, math.nan)
        if not math.isnan(value) and (self.best is None or value > self.best):
            self.best = value
            self.roles.add(BEST, like="policy")
        return found

    def samples(self) -> list[dict[str, Any]]:
        """The policy's present replies to the prompts that are shown, with their rewards."""
        return answers(self.roles, "policy", self.shown, self.reward_model)

    def parse_prompt(self, text: str) -> Prompt:
        """Persona and turns of a rendered prompt (see `DataProcessor.parse_prompt`)."""
        return self.roles.processor.parse_prompt(text)

    def finish(self) -> None:
        """The best policy that the watch saw becomes the policy."""
        if BEST in self.roles.names:
            self.roles.load_state("policy", self.roles.state(BEST))

    @property
    def kept(self) -> tuple[str, ...]:
        """Roles that are saved beside those that are trained."""
        return (BEST,) if BEST in self.roles.names else ()

    def state(self) -> dict[str, Any]:
        return {"kl_coef": self.kl.coef, "best": self.best}

    def load_state(self, state: dict[str, Any]) -> None:
        self.kl.coef, self.best = state["kl_coef"], state.get("best")

    def _dialogues(self, step: int) -> list[SFTPart]:
        return next(self.sft.minibatches(self.sft.collect(step), step)) if self.sft else []
