"""What is taken off the reward model's score of a reply: for faults that rules can tell, and that a reward model overlooks
where they pay (see `data/faults.py`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from selfsame.data.faults import FAULTS, find_faults
from selfsame.data.keywords import TraitMatcher
from selfsame.training.settings import PPOSettings
from selfsame.types import Prompt

SENSELESS = ("malformed", "unanswering")
"""Faults that a model has to read a reply for."""
Sense = Callable[[Sequence[Prompt], Sequence[str]], Mapping[str, Sequence[float]]]
"""Gives `well_formed` and `answers` of replies, 0 where they are not; NaN is not known and costs nothing."""
FAULT_OF = {
    "contradicted": ("contradiction",),
    "recited": ("recitation", "unasked"),
    "degenerate": ("repetition", "malformed"),
    "bland": ("missed",),
    "missed": ("missed",),
    "unasked": ("unasked",),
}
"""Which faults the kinds of rejected replies stand for, as far as one can be found in a sample."""


class Penalties:
    """Finds faults in replies and prices them.

    Args:
        settings: the price of each fault.
        prompts: all prompts of the training data.
        called: the traits that each calls for, as indices; None, as a whole or for a prompt: not known.
        matcher: says which traits a reply draws on; None: one that knows the prompts.
        sense: says which replies make sense; None: they are not read. Where the persona is called for, a reply without sense
            has missed it, whatever words it has.
    """

    def __init__(
        self,
        settings: PPOSettings,
        prompts: Sequence[Prompt],
        called: Sequence[Sequence[int] | None] | None = None,
        matcher: TraitMatcher | None = None,
        sense: Sense | None = None,
    ) -> None:
        self.sense = sense
        self.called = dict(zip(prompts, called or [None] * len(prompts), strict=True))
        self.matcher = matcher or TraitMatcher(text for p in prompts for text in (*p.persona, *p.history))
        self.price = {
            "missed": settings.missed_penalty,
            "unasked": settings.unasked_penalty,
            "contradiction": settings.contradiction_penalty,
            "recitation": settings.recitation_penalty,
            "repetition": settings.self_repetition_penalty,
            "retelling": settings.retelling_penalty,
            "malformed": settings.malformed_penalty,
            "unanswering": settings.unanswering_penalty,
        }

    def find(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> dict[str, Tensor]:
        """By fault, (N,) True where a reply has it. `prompts`: of each reply."""
        pairs = zip(prompts, replies, strict=True)
        rows = [find_faults(self.matcher, prompt, reply, self.called.get(prompt)) for prompt, reply in pairs]
        found = {fault: torch.tensor([row[fault] for row in rows]) for fault in FAULTS}
        if self.sense is None:
            return found
        read = self.sense(prompts, replies)
        found["malformed"] = torch.tensor([value == 0 for value in read["well_formed"]])
        found["unanswering"] = torch.tensor([value == 0 for value in read["answers"]])
        called = torch.tensor([bool(self.called.get(prompt)) for prompt in prompts])
        found["missed"] = found["missed"] | (called & (found["malformed"] | found["unanswering"]))
        return found

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

    @staticmethod
    def distrusted(faults: Mapping[str, Tensor], kinds: Collection[str]) -> Tensor | None:
        """(N,) True where a reply has a fault that the reward model likes: of `kinds` of rejected replies it ranks fewer than
        half below the chosen ones. None where there is no such fault."""
        names = {name for kind in kinds for name in FAULT_OF.get(kind, ()) if name in faults}
        return torch.stack([faults[name] for name in sorted(names)]).any(0) if names else None
