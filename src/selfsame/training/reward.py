"""The reward model: the `reward` role and its head learn which replies to a prompt are better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from selfsame.errors import DataError
from selfsame.model import parallel
from selfsame.model.prefix_batch import PrefixBatch, final_states, hidden_states, micro_batches, prefix_batch
from selfsame.model.reward_model import RewardModel
from selfsame.model.roles import Roles
from selfsame.run.logger import Progress
from selfsame.training.comparisons import PairSampler, as_comparison, check_pairs, digest, matcher_of
from selfsame.training.keeper import Record
from selfsame.training.loop import batch_indices, fit, step_count
from selfsame.training.losses import ranking_loss
from selfsame.training.settings import RewardSettings
from selfsame.types import Comparison, PreferencePair

EncodedPair = tuple[list[int], list[int], list[int]]
"""Token ids of prompt, chosen and rejected."""
EncodedComparison = tuple[list[int], list[list[int]], int]
"""Token ids of a prompt and of its replies, the better ones first, and how many of them are better."""
Part = tuple[PrefixBatch, Tensor, Tensor, Tensor]
"""Comparisons as a batch of their replies, and the pairs within them (see `pairs_within`)."""


def encode_pair(processor: Any, pair: PreferencePair) -> EncodedPair:
    """A pair as token ids; replies longer than half the context are cut."""
    prompt, (chosen, rejected), _ = encode_comparison(processor, as_comparison(pair))
    return prompt, chosen, rejected


def pair_statistics(margin_N: Tensor, weight_N: Tensor) -> dict[str, float]:
    """Their share of the accuracy (a tie counts half) and the mean margin of a batch whose pairs weigh 1 all together."""
    right_N = (margin_N > 0).float() + 0.5 * (margin_N == 0).float()
    return {"accuracy": float((weight_N * right_N).sum()), "margin": float((weight_N * margin_N).sum())}


def encode_comparison(processor: Any, comparison: Comparison) -> EncodedComparison:
    """A comparison as token ids; replies longer than half the context are cut."""
    limit, texts = processor.max_length // 2, (*comparison.better, *comparison.worse)
    replies = [processor.encode_reply(text)[-limit:] for text in texts]
    return processor.encode_prompt(comparison.prompt, max(map(len, replies))), replies, len(comparison.better)


def pairs_within(batch: Sequence[EncodedComparison]) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of a batch's comparisons: (C,) indices of the better and of the worse reply, counted over the batch, and (C,)
    weights, which add up to 1 for each comparison (Ouyang et al. 2022, section 3.5)."""
    better, worse, weights, start = [], [], [], 0
    for _, replies, good in batch:
        made = list(product(range(start, start + good), range(start + good, start + len(replies))))
        better += [b for b, _ in made]
        worse += [w for _, w in made]
        # Pairs of one prompt are correlated: as data points of their own they overfit (Ouyang et al. 2022).
        weights += [1 / len(made)] * len(made)
        start += len(replies)
    return torch.tensor(better), torch.tensor(worse), torch.tensor(weights)


class RewardTrainer:
    """Trains the `reward` role, which starts from `sft` when training begins; then normalises it on samples of `sft`.

    Args:
        roles: a model; with the `sft` role, or the base itself is the start.
        pairs: preference pairs to learn from; `settings` adds comparisons with samples of `sft`.
        validation: held-out pairs, for the ranking accuracy.
        settings: optimiser, comparisons a step, epochs.
        seed: of the data order.
        record: where checkpoints and metrics go; None: nowhere.
        sampler: samples replies, as rejected ones and to normalise on; None: one that knows the pairs.
    """

    name, trained = "reward", ("reward",)

    def __init__(
        self,
        roles: Roles,
        *,
        pairs: Sequence[PreferencePair],
        validation: Sequence[PreferencePair] = (),
        settings: RewardSettings = RewardSettings(),
        seed: int = 0,
        record: Record | None = None,
        sampler: PairSampler | None = None,
    ) -> None:
        if not pairs:
            raise DataError("there is no preference pair to train on")
        self.roles, self.eval_every = roles, settings.eval_every
        self.settings, self.seed, self.record = settings, seed, record
        self.sampler = sampler or PairSampler(roles, settings, seed, 32, matcher_of(pairs))
        self.comparisons = self.sampler.comparisons(pairs)
        self.validation = self.sampler.pairs(validation, held_out=True)
        self.steps = step_count(len(self.comparisons), settings.batch_size, settings.epochs, settings.max_steps)
        if "reward" not in self.roles.names:
            self.begin()
        self.reward_model = RewardModel(self.roles, settings.token_budget)

    def begin(self) -> None:
        """The role as it is before the first step: `sft`, or the base."""
        self.roles.add("reward", like="sft" if "sft" in self.roles.names else None)

    def train(self) -> None:
        """Train to the end, from the newest checkpoint where there is one."""
        fit(self, self.record)

    def collect(self, step: int) -> list[EncodedComparison]:
        chosen = batch_indices(len(self.comparisons), self.settings.batch_size, step, self.seed)
        return [encode_comparison(self.roles.processor, self.comparisons[i]) for i in chosen]

    def minibatches(self, batch: list[EncodedComparison], step: int) -> Iterator[list[Part]]:
        del step
        mine, device = parallel.share(batch), self.roles.device
        lengths = [len(prompt) + sum(map(len, replies)) for prompt, replies, _ in mine]
        parts = [[mine[i] for i in part] for part in micro_batches(lengths, self.settings.token_budget, device)]
        yield [self._part(part, len(batch)) for part in parts]

    def role_of(self, part: Part) -> str:
        del part
        return "reward"

    def loss(self, part: Part) -> tuple[Tensor, dict[str, float]]:
        """Bradley-Terry loss per comparison."""
        batch, better_C, worse_C, weight_C = part
        with self.roles.training("reward") as model:
            reward_N = self.roles.heads["reward"](final_states(batch, hidden_states(model, batch)))
        margin_C = reward_N[better_C] - reward_N[worse_C]
        loss = ranking_loss(margin_C, weight_C)
        return loss, {"loss": loss.item(), **pair_statistics(margin_C.detach(), weight_C)}

    def metrics(self, batch: list[EncodedComparison]) -> dict[str, float]:
        return {"tokens": float(sum(len(prompt) + sum(map(len, replies)) for prompt, replies, _ in batch))}

    def evaluate(self) -> dict[str, float]:
        """Ranking accuracy on the held-out pairs, none if there are none."""
        return {f"validation_{n}": v for n, v in self.evaluate_ranking_accuracy(self.validation).items()}

    def evaluate_ranking_accuracy(self, pairs: Sequence[PreferencePair]) -> dict[str, float]:
        """Share of pairs whose chosen reply gets the higher reward (a tie counts half): `accuracy` over all of them and
        `accuracy/<reason>` over those of a reason."""
        right: dict[str, list[float]] = {}
        for pair, (chosen, rejected) in zip(pairs, self.score_pairs(pairs), strict=True):
            outcome = 0.5 if chosen == rejected else float(chosen > rejected)
            # A good mean can hide a kind below chance. Measured: .76 of all pairs, .33 of the off-topic ones.
            for name in ("accuracy", f"accuracy/{pair.reason}"):
                right.setdefault(name, []).append(outcome)
        return {name: sum(values) / len(values) for name, values in sorted(right.items())}

    def score_pairs(self, pairs: Sequence[PreferencePair]) -> list[tuple[float, float]]:
        """(reward of chosen, reward of rejected) of each pair."""
        encoded = [encode_pair(self.roles.processor, p) for p in pairs]
        rows = [p for p, _, _ in encoded], [[c, r] for _, c, r in encoded]
        with Progress(len(pairs), "reward: held-out pairs", enabled=parallel.is_main(), inner=True) as progress:
            scores = self.reward_model.score_ids(*rows, progress=progress)
        return [(chosen, rejected) for chosen, rejected in scores]

    def finish(self) -> None:
        """Normalises the reward to mean 0 and standard deviation 1 on replies that the `sft` role samples."""
        count = min(self.settings.normalise_samples, len(self.comparisons))
        some = [comparison.prompt for comparison in self.comparisons[:count]]
        prompts, groups = self.sampler.sample(some, range(count), 0, "reward: replies to normalise on", inner=True)
        scores = self.reward_model.score_ids(prompts, [[reply.ids for reply in group] for group in groups])
        head: Any = self.roles.heads["reward"]
        head.normalise(torch.tensor([s for group in scores for s in group]))

    def samples(self) -> list[dict[str, Any]]:
        """Some held-out pairs with the rewards of both replies."""
        pairs = self.validation[:3] or [
            PreferencePair(c.prompt, c.better[0], c.worse[0], c.reason) for c in self.comparisons[:3]
        ]
        return [
            {
                "persona": list(p.prompt.persona),
                "history": list(p.prompt.history),
                "reply": reply,
                "reward": score,
                "note": note,
            }
            for p, scores in zip(pairs, self.score_pairs(pairs), strict=True)
            for reply, score, note in zip(
                (p.chosen, p.rejected), scores, ("chosen", f"rejected: {p.reason}"), strict=True
            )
        ]

    def state(self) -> dict[str, Any]:
        return {"pairs": digest(self.comparisons)}

    def load_state(self, state: dict[str, Any]) -> None:
        check_pairs(self.comparisons, state)

    def _part(self, rows: Sequence[EncodedComparison], total: int) -> Part:
        """Some of a batch of so many comparisons."""
        device = self.roles.device
        batch = prefix_batch(
            [prompt for prompt, _, _ in rows], [replies for _, replies, _ in rows], self.roles.processor.pad_id
        )
        better_C, worse_C, weight_C = pairs_within(rows)
        return batch.to(device), better_C.to(device), worse_C.to(device), weight_C.to(device) / total
