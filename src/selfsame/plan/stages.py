"""The batches that a stage would make, and its own loss run on them without content."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from selfsame.config import Config
from selfsame.data.pairs import REASONS
from selfsame.data.processor import EncodedDialogue
from selfsame.model.concurrent import CPU_TOKENS
from selfsame.model.lora import LoraRoles
from selfsame.model.prefix_batch import micro_batches, prefix_batch, reply_logprobs
from selfsame.plan.hardware import Hardware
from selfsame.plan.probe import Decoding, Pass, decoding_pass, optimiser_kernels, reading_pass, training_pass
from selfsame.plan.skeleton import META, add_role, compute_as_peft
from selfsame.plan.workload import Workload, spread
from selfsame.rollout.collect import Rollout
from selfsame.rollout.engine import Reply
from selfsame.training.dpo import DPOTrainer, pair_batch
from selfsame.training.dpo import Part as DPOPart
from selfsame.training.ppo import Experience, PPOTrainer
from selfsame.training.reward import RewardTrainer
from selfsame.training.settings import RewardSettings
from selfsame.training.sft import SFTTrainer
from selfsame.types import PreferencePair, Prompt

ENGINE_BATCH = 64
"""Replies that a training stage samples at once (`RolloutEngine`)."""
CANDIDATES = 20
"""Replies that evaluation ranks for a prompt, in passes of `EVALUATION_TOKENS`."""
EVALUATION_TOKENS = 4096
UNCALLED = 1 / len(REASONS)
"""Share of the pairs, those with a recited reply, whose prompt does not call for the persona."""
_PAIR = PreferencePair(Prompt(()), "", "", "")


def compared_share(settings: RewardSettings) -> float:
    """At most so many prompts whose samples are compared, as a share of the pairs."""
    return min(settings.comparison_share, 1 - UNCALLED) + min(settings.off_topic_share, UNCALLED)


@dataclass(frozen=True)
class Groups:
    """The passes of an optimiser step: `tokens` of all with padding, and their number; `worst`: the one that keeps most;
    `optimiser`: operations of the step itself; `token_budget`: of the stage."""

    tokens: int
    count: int
    worst: Pass
    optimiser: int
    token_budget: int


class Probe:
    """Passes of one configuration's model. What was measured is kept, and holds for any configuration of the same model."""

    def __init__(self, config: Config, hardware: Hardware, roles: LoraRoles, work: Workload) -> None:
        self.config, self.hardware, self.roles, self.work = config, hardware, roles, work
        self.known: dict[Any, Any] = {}

    def prepare(self, *roles: str) -> None:
        """Makes the roles that are not there yet."""
        for role in roles:
            if role not in self.roles.names:
                add_role(self.roles, role)

    def groups(self, stage: str, config: Config) -> Groups:
        """The passes over one batch of a stage on one process (PPO: of one epoch, for the role that takes most)."""
        settings = getattr(config.training, stage)
        size = settings.prompts_per_step if stage == "ppo" else settings.batch_size
        rows = spread(self._items(stage), max(1, math.ceil(size / self.hardware.count)))
        if stage == "ppo":
            rows = [self._row_of(prompt, settings) for prompt in rows]
        if stage == "reward":
            rows = self._comparisons(rows, settings)
        kind = torch.device("cpu" if self.hardware.is_cpu else "cuda")
        groups = micro_batches([_length(row) for row in rows], settings.token_budget, kind)
        widths = [(len(group), max(_length(rows[i]) for i in group)) for group in groups]
        large = {max(range(len(groups)), key=lambda g, p=power: widths[g][0] * widths[g][1] ** p) for power in (1, 2)}
        passes = [self._pass(stage, settings, [rows[i] for i in groups[g]], widths[g]) for g in sorted(large)]
        worst = max(passes, key=lambda p: p.peak)
        tokens, optimiser = sum(b * t for b, t in widths), self._optimiser(stage, settings)
        return Groups(tokens, len(groups), worst, optimiser, settings.token_budget)

    def _optimiser(self, stage: str, settings: Any) -> int:
        """Operations of an optimiser step on a CPU; GPUs have fused ones."""
        value = getattr(settings, "value_source", None)
        trained = {"ppo": ("policy", "value") if value else ("policy",), "dpo": ("policy",)}.get(stage, (stage,))
        if ("optimiser", stage, value) not in self.known:
            made = optimiser_kernels(self.roles, trained) if self.hardware.is_cpu else 0
            self.known["optimiser", stage, value] = made
        return self.known["optimiser", stage, value]

    def _items(self, stage: str) -> Sequence[Any]:
        return {"sft": self.work.dialogues, "ppo": self.work.prompts}.get(stage, self.work.pairs)

    def _row_of(self, prompt: list[int], settings: Any) -> tuple[list[int], list[list[int]]]:
        return prompt, [[0] * settings.max_new_tokens] * settings.samples_per_prompt

    def _comparisons(self, pairs: list[Any], settings: Any) -> list[tuple[list[int], list[list[int]], int]]:
        """Rows of the reward model: as many of the longest as the settings say have the samples to a prompt as replies."""
        compared, n = compared_share(settings), settings.comparison_samples
        first = len(pairs) - math.ceil(compared / (1 + settings.sampled_share + compared) * len(pairs))
        sample = [0] * min(self.config.training.ppo.max_new_tokens, self.config.model.max_length // 2)
        rows = [(prompt, [chosen, rejected], 1) for prompt, chosen, rejected in pairs[:first]]
        return rows + [(prompt, [sample] * n, n // 2) for prompt, _, _ in pairs[first:]]

    def _pass(self, stage: str, settings: Any, rows: list[Any], shape: tuple[int, int]) -> Pass:
        key = (stage, shape, _selected(rows), getattr(settings, "value_source", None))
        if key not in self.known:
            trainer, make = _TRAINERS[stage](self, settings)
            parts = make(rows)
            if self.config.model.four_bit:
                compute_as_peft(self.roles)
            found = [
                training_pass(
                    self.roles,
                    trainer.trained,
                    lambda p=p: trainer.loss(p)[0],
                    math.prod(shape),
                    _selected(rows),
                    self.hardware.flash,
                )
                for p in parts
            ]
            self.known[key] = _together(found)
        return self.known[key]

    # --- the trainers ------------------------------------------------------------------------------------------------

    def _sft(self, settings: Any) -> Any:
        plain: Any = settings.model_copy(update={"persona_weight": 1.0, "token_budget": 2**30})
        with META:
            trainer = SFTTrainer(self.roles, train=[None], settings=plain)  # pyright: ignore
        return trainer, lambda rows: next(iter(trainer.minibatches(rows, 0)))

    def _reward(self, settings: Any) -> Any:
        plain: Any = settings.model_copy(
            update={"sampled_share": 0.0, "comparison_share": 0.0, "off_topic_share": 0.0, "token_budget": 2**30}
        )
        with META:
            trainer = RewardTrainer(self.roles, pairs=[_PAIR], settings=plain)
        return trainer, lambda rows: next(iter(trainer.minibatches(rows, 0)))

    def _dpo(self, settings: Any) -> Any:
        with META:
            trainer = DPOTrainer(self.roles, pairs=[None], settings=settings)  # pyright: ignore
        return trainer, lambda rows: [
            DPOPart(pair_batch(rows, 0, META), torch.zeros(len(rows), 2, device=META), len(rows))
        ]

    def _ppo(self, settings: Any) -> Any:
        plain = settings.model_copy(update={"minibatches": 1, "token_budget": 2**30})
        with META:
            trainer = PPOTrainer(self.roles, prompts=[Prompt(())], settings=plain)
            trainer.begin()  # with a value of this kind
        return trainer, lambda rows: next(iter(trainer.minibatches(self._experience(rows, settings.value_source), 0)))

    def _experience(self, rows: list[Any], value: str | None) -> Experience:
        replies = [Reply(ids, [], True) for _, siblings in rows for ids in siblings]
        width, hidden = max(len(r.ids) for r in replies), self.roles.base.config.hidden_size
        zeros = torch.zeros(len(replies), width)
        states = [torch.zeros(len(r.ids), hidden, device=META) for r in replies] if value == "reward_states" else None
        scores, ended = torch.zeros(len(replies)), torch.ones(len(replies), dtype=torch.bool)
        prompts: Any = [prompt for prompt, _ in rows]
        rollout = Rollout(prompts, replies, zeros > -1, zeros, zeros, zeros, scores, ended, states)
        return Experience(prompts, rollout, zeros, zeros, zeros, 0.0, 0.0)

    # --- without learning --------------------------------------------------------------------------------------------

    def decoding(self, role: str | None, replies: int, samples: int, length: int) -> Decoding:
        """A batch of at most so many replies, `samples` to a prompt, to prompts as long as the longest."""
        prompts = [self.work.prompts[-1]] * max(1, replies // samples)
        key = ("decode", len(prompts), samples, length)
        if key not in self.known:
            self.known[key] = decoding_pass(self.roles, role, prompts, samples, length, self.hardware.flash)
        return self.known[key]

    def candidates(self) -> tuple[list[int], list[list[int]]]:
        """A prompt of evaluation and the replies that are ranked."""
        return self.work.prompts[len(self.work.prompts) // 2], [
            self.work.pairs[len(self.work.pairs) // 2][1]
        ] * CANDIDATES

    def ranking(self) -> Pass:
        """A pass of evaluation: candidates to some prompts, ranked by the base."""
        prompt, replies = self.candidates()
        width = _length((prompt, replies))
        count = max(1, (CPU_TOKENS if self.hardware.is_cpu else EVALUATION_TOKENS) // width)
        if "rank" not in self.known:
            batch = prefix_batch([prompt] * count, [replies] * count).to(META)

            def read() -> Any:
                with self.roles.use(None) as model:
                    return reply_logprobs(model, batch)

            self.known["rank"] = reading_pass(
                self.roles, read, count * width, count * (width - len(prompt)), self.hardware.flash
            )
        return self.known["rank"]


_TRAINERS: dict[str, Any] = {"sft": Probe._sft, "reward": Probe._reward, "dpo": Probe._dpo, "ppo": Probe._ppo}


def _together(passes: list[Pass]) -> Pass:
    """Passes one after the other: the largest memory, the sum of the work."""
    most = max(passes, key=lambda p: p.peak)
    total = {name: sum(getattr(p, name) for p in passes) for name in ("forward", "backward", "kernels")}
    return Pass(**{**vars(most), **total})


def _length(row: Any) -> int:
    if isinstance(row, EncodedDialogue):
        return len(row.ids)
    return len(row[0]) + sum(map(len, row[1])) if isinstance(row[1][0], list) else sum(map(len, row))


def _selected(rows: Sequence[Any]) -> int:
    """Tokens of replies."""
    if isinstance(rows[0], EncodedDialogue):
        return sum(end - start for row in rows for start, end in row.spans)
    return sum(_length(row) - len(row[0]) for row in rows)
