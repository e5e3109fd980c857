"""A speaker: a role of a model with its sampling. The same random numbers serve whoever speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfsame.model.roles import Roles
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.logger import Progress
from selfsame.text.functions import Total
from selfsame.types import Prompt


@dataclass(frozen=True)
class Policy:
    """A role that gives replies. The random numbers of a reply are a function of the seed, the step and its place among the
    prompts, and of nothing else: not of the model, the persona or the size of a batch.

    Attributes:
        roles: the model.
        role: whose adapter speaks; None: the base alone.
        sampling: how replies are sampled.
        seed: of the random numbers.
        best_of: replies sampled for each prompt, of which the `reward` role chooses one.
        worth: what it is chosen by; None: the reward model's score.
    """

    roles: Roles
    role: str | None = None
    sampling: SamplingSettings = SamplingSettings()
    seed: int = 0
    best_of: int = 1
    worth: Total | None = None

    def generate(
        self,
        prompts: Sequence[Prompt],
        progress: Progress | None = None,
        step: int = 0,
        places: Sequence[int] | None = None,
    ) -> list[str]:
        """A reply to each prompt. `progress` advances by one a reply; `step` and `places` (default: 0, 1, ...) say which
        random numbers the replies are drawn with."""
        engine = RolloutEngine(self.roles, self.sampling.batch_size, self.worth)
        places = range(len(prompts)) if places is None else places
        replies: list[str] = []
        size = 4 * self.sampling.batch_size  # several batches at once, so that prompts of similar length meet
        for at in range(0, len(prompts), size):
            part = slice(at, at + size)
            replies += engine.reply(
                self.role, prompts[part], self.sampling, self.seed, step, places[part], self.best_of
            )
            if progress:
                progress.advance(len(replies) - at)
        return replies
