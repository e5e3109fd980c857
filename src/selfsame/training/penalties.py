"""What is taken off the reward model's score of a reply: for faults that rules can tell, and that a reward model overlooks
where they pay (see `data/faults.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from selfsame.data.faults import FAULTS, find_faults
from selfsame.data.keywords import TraitMatcher
from selfsame.training.settings import PPOSettings
from selfsame.types import Prompt


class Penalties:
    """Finds faults in replies and prices them.

    Args:
        settings: the price of each fault.
        prompts: all prompts of the training data.
        called: the traits that each calls for, as indices; None, as a whole or for a prompt: not known.
        matcher: says which traits a reply draws on; None: one that knows the prompts.
    """

    def __init__(
        self,
        settings: PPOSettings,
        prompts: Sequence[Prompt],
        called: Sequence[Sequence[int] | None] | None = None,
        matcher: TraitMatcher | None = None,
    ) -> None:
        self.called = dict(zip(prompts, called or [None] * len(prompts), strict=True))
        self.matcher = matcher or TraitMatcher(text for p in prompts for text in (*p.persona, *p.history))
        self.price = {
            "missed": settings.missed_penalty,
            "unasked": settings.unasked_penalty,
            "contradiction": settings.contradiction_penalty,
            "recitation": settings.recitation_penalty,
            "repetition": settings.self_repetition_penalty,
            "retelling": settings.retelling_penalty,
        }

    def find(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> dict[str, Tensor]:
        """By fault, (N,) True where a reply has it. `prompts`: of each reply."""
        pairs = zip(prompts, replies, strict=True)
        rows = [find_faults(self.matcher, prompt, reply, self.called.get(prompt)) for prompt, reply in pairs]
        return {fault: torch.tensor([row[fault] for row in rows]) for fault in FAULTS}

    def shares(self, prompts: Sequence[Prompt], faults: Mapping[str, Tensor]) -> dict[str, float]:
        """How many replies have each fault, of those that could: of "missed" the replies to prompts that call for the persona,
        of "unasked" to those that do not; nothing where there are none. `prompts`: each has as many replies."""
        called = [self.called.get(prompt) for prompt in prompts]
        could = {"missed": [bool(c) for c in called], "unasked": [c is not None and not c for c in called]}
        found = {}
        for fault, found_N in faults.items():
            kept_P = torch.tensor(could.get(fault, [True] * len(prompts)))
            replies = found_N.view(len(prompts), -1)[kept_P]
            found |= {fault: float(replies.float().mean())} if len(replies) else {}
        return found

    def total(self, faults: Mapping[str, Tensor]) -> Tensor:
        """(N,) what the faults of each reply cost."""
        return torch.stack([self.price[fault] * found_N for fault, found_N in faults.items()]).sum(0)
