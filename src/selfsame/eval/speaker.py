"""Replies of a role to evaluate: the same random numbers for whoever speaks."""

from __future__ import annotations

from collections.abc import Sequence

from selfsame.model.roles import Roles
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.logger import Progress
from selfsame.types import Prompt


class Speaker:
    """Replies in batches. The random numbers of a reply are a function of the seed and its place among the prompts: not of
    the model, the persona or the size of a batch.

    Args:
        roles: the model.
        role: whose adapter speaks; None: the base alone.
        sampling: how replies are sampled.
        seed: of the random numbers.
        progress: is told of every reply.
        best_of: so many replies are sampled to each prompt, and the one with the highest reward is given.
    """

    def __init__(
        self,
        roles: Roles,
        role: str | None,
        sampling: SamplingSettings,
        seed: int,
        progress: Progress | None = None,
        best_of: int = 1,
    ) -> None:
        self.engine = RolloutEngine(roles, sampling.batch_size)
        self.role, self.sampling, self.seed, self.progress = role, sampling, seed, progress
        self.best_of = best_of

    def __call__(self, prompts: Sequence[Prompt]) -> list[str]:
        replies: list[str] = []
        size = 4 * self.sampling.batch_size  # several batches at once, so that prompts of similar length meet
        for at in range(0, len(prompts), size):
            some = prompts[at : at + size]
            places = range(at, at + len(some))
            replies += self.engine.reply(self.role, some, self.sampling, self.seed, 0, places, self.best_of)
            if self.progress:
                self.progress.advance(len(replies) - at)
        return replies
