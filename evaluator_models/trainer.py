"""A judge of contradictions: the `judge` role and its head learn what one sentence says about another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from evaluator_models.settings import JudgeSettings
from selfsame.errors import DataError
from selfsame.model import parallel
from selfsame.model.load import as_roles
from selfsame.model.pairs import EncodedPair, PairModel
from selfsame.model.prefix_batch import PrefixBatch, micro_batches
from selfsame.run.logger import Progress
from selfsame.training.keeper import Record
from selfsame.training.loop import batch_indices, fit, step_count
from selfsame.types import LABELS, LabelledPair


class JudgeTrainer:
    """Trains the `judge` role, which starts from the base when training begins. Labels count alike, whatever their pairs.

    Args:
        model: a `Roles`, or a Hugging Face causal language model.
        tokenizer: the tokenizer, where `model` is not a `Roles`.
        pairs: pairs to learn from.
        validation: held-out pairs.
        settings: optimiser, batch size, epochs.
        seed: of the data order.
        record: where checkpoints and metrics go; None: nowhere.
    """

    name, trained = "judge", ("judge",)

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        pairs: Sequence[LabelledPair],
        validation: Sequence[LabelledPair] = (),
        settings: JudgeSettings = JudgeSettings(),
        seed: int = 0,
        record: Record | None = None,
    ) -> None:
        unknown = {pair.label for pair in (*pairs, *validation)} - set(LABELS)
        if not pairs or unknown:
            wrong = f"unknown labels {sorted(unknown)}" if unknown else "there is no pair to train on"
            raise DataError(f"{wrong}: give pairs with the labels {', '.join(LABELS)}")
        self.roles, self.eval_every = as_roles(model, tokenizer), settings.eval_every
        self.pairs, self.validation, self.settings, self.seed, self.record = pairs, validation, settings, seed, record
        self.steps = step_count(len(pairs), settings.batch_size, settings.epochs, settings.max_steps)
        counts = Counter(pair.label for pair in pairs)
        self.weight_of = {label: len(pairs) / (len(counts) * count) for label, count in counts.items()}
        if "judge" not in self.roles.names:
            self.begin()
        self.model = PairModel(self.roles, settings.token_budget)

    def begin(self) -> None:
        """The role as it is before the first step."""
        self.roles.add("judge")

    def train(self) -> None:
        """Trains to the end, or goes on from the newest checkpoint."""
        fit(self, self.record)

    def collect(self, step: int) -> list[tuple[EncodedPair, str]]:
        chosen = batch_indices(len(self.pairs), self.settings.batch_size, step, self.seed)
        return [(self.model.encode(_sides(self.pairs[i])), self.pairs[i].label) for i in chosen]

    def minibatches(
        self, batch: list[tuple[EncodedPair, str]], step: int
    ) -> Iterator[list[tuple[PrefixBatch, list[str], int]]]:
        del step
        mine = parallel.share(batch)
        lengths = [len(prompt) + len(reply) for (prompt, reply), _ in mine]
        parts = micro_batches(lengths, self.settings.token_budget, self.roles.device)
        yield [(self.model.batch([mine[i][0] for i in p]), [mine[i][1] for i in p], len(batch)) for p in parts]

    def role_of(self, part: tuple[PrefixBatch, list[str], int]) -> str:
        del part
        return "judge"

    def loss(self, part: tuple[PrefixBatch, list[str], int]) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy per pair, each label weighted by how rare it is."""
        batch, labels, pairs = part
        target_N = torch.tensor([LABELS.index(label) for label in labels], device=self.roles.device)
        weight_N = torch.tensor([self.weight_of[label] for label in labels], device=self.roles.device)
        with self.roles.training("judge") as model:
            logits_N3 = self.model.forward(model, batch)
        loss = (cross_entropy(logits_N3, target_N, reduction="none") * weight_N).sum() / pairs
        hits = float((logits_N3.detach().argmax(-1) == target_N).sum())
        return loss, {"loss": loss.item(), "accuracy": hits / pairs}

    def metrics(self, batch: list[tuple[EncodedPair, str]]) -> dict[str, float]:
        return {"tokens": float(sum(len(prompt) + len(reply) for (prompt, reply), _ in batch))}

    def evaluate(self) -> dict[str, float]:
        """Recall of each label on the held-out pairs and their mean, the balanced accuracy; none without such pairs."""
        if not self.validation:
            return {}
        with Progress(len(self.validation), "judge: held-out pairs", parallel.is_main(), inner=True) as progress:
            found_N3 = self.model.probabilities([_sides(pair) for pair in self.validation], progress)
        said_N = found_N3.argmax(-1).tolist()
        recalls: dict[str, float] = {}
        for k, name in enumerate(LABELS):
            hits = [said == k for said, pair in zip(said_N, self.validation, strict=True) if pair.label == name]
            if hits:
                recalls[f"validation_recall/{name}"] = sum(hits) / len(hits)
        return {"validation_balanced_accuracy": sum(recalls.values()) / len(recalls), **recalls}

    def samples(self) -> list[dict[str, Any]]:
        """Held-out pairs with what the judge says of them."""
        shown = list(self.validation or self.pairs)[:3]
        found_N3 = self.model.probabilities([_sides(pair) for pair in shown]).tolist()
        return [
            {"premise": p.premise, "hypothesis": p.hypothesis, "label": p.label}
            | {"probabilities": [round(x, 4) for x in found]}
            for p, found in zip(shown, found_N3, strict=True)
        ]

    def finish(self) -> None: ...

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        del state


def _sides(pair: LabelledPair) -> tuple[str, str]:
    return pair.premise, pair.hypothesis
