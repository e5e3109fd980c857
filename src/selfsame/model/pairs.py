"""The relation between two sentences: the `judge` role and its head of three labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfsame.errors import DataError
from selfsame.model.concurrent import concurrently
from selfsame.model.prefix_batch import PrefixBatch, final_states, hidden_states, micro_batches, prefix_batch
from selfsame.model.roles import Roles
from selfsame.run.logger import Progress
from selfsame.types import Prompt

Pair = tuple[str, str]
"""Premise and hypothesis."""
EncodedPair = tuple[list[int], list[int]]


class PairModel:
    """Reads a pair as a prompt whose persona is the premise, and the hypothesis as the reply to it: what the base learned
    about replies and personas is what the judge starts from. The label is read at the hypothesis' end.

    Args:
        roles: with the role `judge`.
        token_budget: tokens, padding included, in one forward pass.
        longest: tokens of a sentence that are read (its beginning).
    """

    def __init__(self, roles: Roles, token_budget: int = 4096, longest: int = 128) -> None:
        self.roles, self.token_budget = roles, token_budget
        self.longest = min(longest, roles.processor.max_length // 3)

    def encode(self, pair: Pair) -> EncodedPair:
        """Token ids of the prompt and of the hypothesis with its end token."""
        processor, (premise, hypothesis) = self.roles.processor, pair
        ids = processor.encode_reply(hypothesis)
        ids = [*ids[: self.longest], processor.end_id] if len(ids) > self.longest + 1 else ids
        while len(processor.encode_reply(premise)) > self.longest + 1:
            premise = premise[: max(1, len(premise) * 3 // 4)]
        try:
            return processor.encode_prompt(Prompt((premise,)), len(ids)), ids
        except DataError:  # a tokenizer that takes many tokens for a letter
            return processor.encode_prompt(Prompt(()), len(ids)), ids

    def batch(self, pairs: Sequence[EncodedPair]) -> PrefixBatch:
        """Rows of one pair each."""
        made = prefix_batch(
            [prompt for prompt, _ in pairs], [[reply] for _, reply in pairs], self.roles.processor.pad_id
        )
        return made.to(self.roles.device)

    def forward(self, model: torch.nn.Module, batch: PrefixBatch) -> Tensor:
        """(N, 3) logits."""
        return self.roles.heads["judge"](final_states(batch, hidden_states(model, batch)))

    @torch.no_grad()
    def probabilities(self, pairs: Sequence[Pair], progress: Progress | None = None) -> Tensor:
        """(N, 3) probabilities in the order of `LABELS`, float32 on the CPU. `progress`: is told of pairs done."""
        encoded = [self.encode(pair) for pair in pairs]
        found_N3 = torch.zeros(len(pairs), 3)
        with self.roles.use("judge") as model:
            parts = micro_batches([len(p) + len(r) for p, r in encoded], self.token_budget, self.roles.device)

            def measure(part: list[int]) -> Tensor:
                return self.forward(model, self.batch([encoded[k] for k in part])).softmax(-1).cpu()

            for part, found_M3 in zip(parts, concurrently(measure, parts, model, self.token_budget), strict=True):
                found_N3[part] = found_M3
                if progress:
                    progress.advance(len(part))
        return found_N3
