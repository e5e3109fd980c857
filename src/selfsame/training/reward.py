"""The reward model: the `reward` role and its head learn which of two replies is better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from selfsame.data.keywords import TraitMatcher
from selfsame.errors import DataError
from selfsame.model import parallel
from selfsame.model.branches import Branches, branch, final_states, hidden_states, micro_batches
from selfsame.model.heads import RewardModel
from selfsame.model.roles import as_roles
from selfsame.training.loop import Record, batch_indices, fit, step_count
from selfsame.training.losses import ranking_loss
from selfsame.training.sampled import PairSampler, check_pairs, digest
from selfsame.training.settings import RewardSettings
from selfsame.types import PreferencePair

EncodedPair = tuple[list[int], list[int], list[int]]
"""Token ids of prompt, chosen and rejected."""


def encode_pair(processor: Any, pair: PreferencePair) -> EncodedPair:
    """A pair as token ids; replies longer than half the context are cut."""
    limit = processor.max_length // 2
    chosen, rejected = (processor.encode_reply(reply)[-limit:] for reply in (pair.chosen, pair.rejected))
    return processor.encode_prompt(pair.prompt, max(len(chosen), len(rejected))), chosen, rejected


def pair_branches(pairs: Sequence[EncodedPair], pad_id: int, device: torch.device) -> Branches:
    """Rows of a prompt with its chosen (even n) and rejected (odd n) reply."""
    return branch([p for p, _, _ in pairs], [[chosen, rejected] for _, chosen, rejected in pairs], pad_id).to(device)


def pair_statistics(margin_N: Tensor, pairs: int) -> dict[str, float]:
    """Their share of the accuracy (a tie counts half) and the mean margin of a batch of so many pairs."""
    right = (margin_N > 0).float() + 0.5 * (margin_N == 0).float()
    return {"accuracy": float(right.sum()) / pairs, "margin": float(margin_N.sum()) / pairs}


class RewardTrainer:
    """Trains the `reward` role, which starts from `sft`; then normalises it on samples of `sft`.

    Args:
        model: a `Roles` (with the `sft` role, or the base itself is the start), or a Hugging Face causal language model.
        tokenizer: the tokenizer, where `model` is not a `Roles`.
        pairs: preference pairs to learn from; `settings.sampled_share` and `missed_share` add pairs of samples of `sft`.
        validation: held-out pairs, for the ranking accuracy.
        settings: optimiser, batch size, epochs.
        seed: of the data order.
        record: where checkpoints and metrics go; None: nowhere.
        max_new_tokens: longest reply that is sampled, as a rejected one and to normalise on; PPO's.
        matcher: says which traits a reply draws on; None: one that knows the pairs.
    """

    name, trained = "reward", ("reward",)

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        pairs: Sequence[PreferencePair],
        validation: Sequence[PreferencePair] = (),
        settings: RewardSettings = RewardSettings(),
        seed: int = 0,
        record: Record | None = None,
        max_new_tokens: int = 32,
        matcher: TraitMatcher | None = None,
    ) -> None:
        if not pairs:
            raise DataError("there is no preference pair to train on")
        self.roles, self.eval_every = as_roles(model, tokenizer), settings.eval_every
        self.settings, self.seed, self.record = settings, seed, record
        texts = (text for pair in (pairs if matcher is None else ()) for text in (*pair.prompt.persona, pair.chosen))
        self.sampler = PairSampler(self.roles, settings, seed, max_new_tokens, matcher or TraitMatcher(texts))
        self.pairs, self.validation = self.sampler.extend(pairs, validation)
        self.steps = step_count(len(self.pairs), settings.batch_size, settings.epochs, settings.max_steps)
        self.roles.add("reward", like="sft" if "sft" in self.roles.names else None)
        self.reward_model = RewardModel(self.roles, settings.token_budget)

    def train(self) -> None:
        """Trains to the end, or goes on from the newest checkpoint."""
        fit(self, self.record)

    def collect(self, step: int) -> list[EncodedPair]:
        chosen = batch_indices(len(self.pairs), self.settings.batch_size, step, self.seed)
        return [encode_pair(self.roles.processor, self.pairs[i]) for i in chosen]

    def minibatches(self, batch: list[EncodedPair], step: int) -> Iterator[list[tuple[Branches, int]]]:
        del step
        mine = parallel.share(batch)
        parts = micro_batches([sum(map(len, pair)) for pair in mine], self.settings.token_budget, self.roles.device)
        yield [(self._branches([mine[i] for i in part]), len(batch)) for part in parts]

    def loss(self, part: tuple[Branches, int]) -> tuple[Tensor, dict[str, float]]:
        """Bradley-Terry loss per pair."""
        batch, pairs = part
        with self.roles.training("reward") as model:
            reward_N = self.roles.heads["reward"](final_states(batch, hidden_states(model, batch)))
        chosen_N, rejected_N = reward_N[0::2], reward_N[1::2]
        loss = ranking_loss(chosen_N, rejected_N) / pairs
        margin_N = (chosen_N - rejected_N).detach()
        return loss, {"loss": loss.item(), **pair_statistics(margin_N, pairs)}

    def metrics(self, batch: list[EncodedPair]) -> dict[str, float]:
        return {"tokens": float(sum(len(part) for pair in batch for part in pair))}

    def evaluate(self) -> dict[str, float]:
        """Ranking accuracy on the held-out pairs, none if there are none."""
        return {f"validation_{n}": v for n, v in self.evaluate_ranking_accuracy(self.validation).items()}

    def evaluate_ranking_accuracy(self, pairs: Sequence[PreferencePair]) -> dict[str, float]:
        """Share of pairs whose chosen reply gets the higher reward (a tie counts half): `accuracy` over all of them and
        `accuracy/<reason>` over those of a reason."""
        right: dict[str, list[float]] = {}
        for pair, (chosen, rejected) in zip(pairs, self.score_pairs(pairs), strict=True):
            outcome = 0.5 if chosen == rejected else float(chosen > rejected)
            for name in ("accuracy", f"accuracy/{pair.reason}"):
                right.setdefault(name, []).append(outcome)
        return {name: sum(values) / len(values) for name, values in sorted(right.items())}

    def score_pairs(self, pairs: Sequence[PreferencePair]) -> list[tuple[float, float]]:
        """(reward of chosen, reward of rejected) of each pair."""
        encoded = [encode_pair(self.roles.processor, p) for p in pairs]
        scores = self.reward_model.score_ids([p for p, _, _ in encoded], [[c, r] for _, c, r in encoded])
        return [(chosen, rejected) for chosen, rejected in scores]

    def finish(self) -> None:
        """Normalises the reward to mean 0 and standard deviation 1 on replies that the `sft` role samples."""
        count = min(self.settings.normalise_samples, len(self.pairs))
        prompts, groups = self.sampler.sample([pair.prompt for pair in self.pairs[:count]], range(count), 0, show=False)
        scores = self.reward_model.score_ids(prompts, [[reply.ids for reply in group] for group in groups])
        head: Any = self.roles.heads["reward"]
        head.normalise(torch.tensor([s for group in scores for s in group]))

    def samples(self, batch: Any) -> list[dict[str, Any]]:
        del batch
        pairs = list(self.validation or self.pairs)[:3]
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
        return {"pairs": digest(self.pairs)}

    def load_state(self, state: dict[str, Any]) -> None:
        check_pairs(self.pairs, state)

    def _branches(self, pairs: Sequence[EncodedPair]) -> Branches:
        return pair_branches(pairs, self.roles.processor.pad_id, self.roles.device)
