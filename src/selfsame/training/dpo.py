"""Direct preference optimisation: a `policy` role from the reward model's pairs, without a reward model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfsame.errors import DataError, RunError
from selfsame.model import parallel
from selfsame.model.concurrent import concurrently
from selfsame.model.prefix_batch import PrefixBatch, micro_batches, prefix_batch, reply_logprobs
from selfsame.model.roles import Roles
from selfsame.rollout.collect import Rows, token_logprobs
from selfsame.run.logger import Progress
from selfsame.training.comparisons import check_pairs, digest
from selfsame.training.keeper import Record
from selfsame.training.loop import batch_indices, fit, step_count
from selfsame.training.losses import dpo_loss
from selfsame.training.reward import EncodedPair, encode_pair, pair_statistics
from selfsame.training.settings import DPOSettings
from selfsame.training.shown import answers
from selfsame.types import PreferencePair


@dataclass(frozen=True)
class Part:
    """Some pairs of a batch; `reference_N2` are the summed log-probabilities of (chosen, rejected) under `sft`."""

    batch: PrefixBatch
    reference_N2: Tensor
    pairs: int


def pair_batch(pairs: Sequence[EncodedPair], pad_id: int, device: torch.device) -> PrefixBatch:
    """Rows of a prompt with its chosen (even n) and rejected (odd n) reply."""
    return prefix_batch([p for p, _, _ in pairs], [[chosen, rejected] for _, chosen, rejected in pairs], pad_id).to(
        device
    )


class DPOTrainer:
    """Trains the `policy` role, which starts from `sft` when training begins, with `sft` as reference.

    Args:
        roles: a model with the role `sft`.
        pairs: preference pairs to learn from (`PairSampler` adds those of samples of `sft`).
        validation: held-out pairs.
        settings: optimiser, batch size, epochs, beta.
        seed: of the data order.
        record: where checkpoints and metrics go; None: nowhere.
    """

    name, trained = "dpo", ("policy",)

    def __init__(
        self,
        roles: Roles,
        *,
        pairs: Sequence[PreferencePair],
        validation: Sequence[PreferencePair] = (),
        settings: DPOSettings = DPOSettings(),
        seed: int = 0,
        record: Record | None = None,
    ) -> None:
        if not pairs:
            raise DataError("there is no preference pair to train on")
        if "sft" not in roles.names:
            raise RunError("DPO needs the role 'sft': train the stage sft first")
        self.roles, self.eval_every = roles, settings.eval_every
        self.pairs, self.validation, self.settings, self.seed, self.record = pairs, validation, settings, seed, record
        self.shown = record.shown if record else ()
        self.steps = step_count(len(pairs), settings.batch_size, settings.epochs, settings.max_steps)
        if "policy" not in roles.names:
            self.begin()

    def begin(self) -> None:
        """The role as it is before the first step."""
        self.roles.add("policy", like="sft")

    def train(self) -> None:
        """Train to the end, from the newest checkpoint where there is one."""
        fit(self, self.record)

    def collect(self, step: int) -> list[EncodedPair]:
        chosen = batch_indices(len(self.pairs), self.settings.batch_size, step, self.seed)
        return [encode_pair(self.roles.processor, self.pairs[i]) for i in chosen]

    def minibatches(self, batch: list[EncodedPair], step: int) -> Iterator[list[Part]]:
        del step
        yield self._parts(parallel.share(batch), len(batch))

    def role_of(self, part: Part) -> str:
        del part
        return "policy"

    def loss(self, part: Part) -> tuple[Tensor, dict[str, float]]:
        """DPO loss per pair."""
        with self.roles.training("policy") as model:
            return self._loss(model, part)

    def _loss(self, model: Any, part: Part) -> tuple[Tensor, dict[str, float]]:
        # No sample shows DPO what its policy says by now. Measured from the same pairs: .570 consistent at a perplexity
        # of 5.07, PPO .67 to .73 at less.
        total_N = reply_logprobs(model, part.batch)[0].sum(1)
        loss, margin_N = dpo_loss(
            total_N[0::2], total_N[1::2], part.reference_N2[:, 0], part.reference_N2[:, 1], self.settings.beta
        )
        loss = loss / part.pairs
        return loss, {"loss": loss.item(), **pair_statistics(margin_N, torch.full_like(margin_N, 1 / part.pairs))}

    def metrics(self, batch: list[EncodedPair]) -> dict[str, float]:
        return {"tokens": float(sum(len(part) for pair in batch for part in pair))}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Loss, accuracy and margin on the held-out pairs, none if there are none."""
        if not self.validation:
            return {}
        encoded = [encode_pair(self.roles.processor, p) for p in self.validation]
        mine, totals = parallel.share(encoded), dict[str, float]()
        bar = Progress(2 * len(mine), "dpo: held-out pairs, twice", enabled=parallel.is_main(), inner=True)
        with bar as progress:
            parts = self._parts(mine, len(encoded), progress)
            with self.roles.use("policy") as model:
                found = concurrently(lambda part: self._loss(model, part)[1], parts, model, self.settings.token_budget)
                for part, numbers in zip(parts, found, strict=True):
                    totals = {name: totals.get(name, 0.0) + value for name, value in numbers.items()}
                    progress.advance(len(part.reference_N2))
        return {f"validation_{n}": v for n, v in parallel.sum_numbers(totals).items()}

    def samples(self) -> list[dict[str, Any]]:
        """The policy's present replies to the prompts that are shown."""
        return answers(self.roles, "policy", self.shown)

    def finish(self) -> None: ...

    def state(self) -> dict[str, Any]:
        return {"pairs": digest(self.pairs)}

    def load_state(self, state: dict[str, Any]) -> None:
        check_pairs(self.pairs, state)

    def _parts(self, pairs: Sequence[EncodedPair], total: int, progress: Progress | None = None) -> list[Part]:
        budget, device = self.settings.token_budget, self.roles.device
        rows = [p for p, _, _ in pairs], [[c, r] for _, c, r in pairs]
        reference = token_logprobs(self.roles, "sft", Rows(*rows), budget, progress=progress)
        sums_N2 = torch.tensor([[sum(reply) for reply in row] for row in reference], device=device)
        parts = micro_batches([sum(map(len, pair)) for pair in pairs], budget, device)
        return [
            Part(pair_batch([pairs[i] for i in part], self.roles.processor.pad_id, device), sums_N2[part], total)
            for part in parts
        ]
