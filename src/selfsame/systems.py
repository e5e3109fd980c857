"""The stages of a run and the systems that they make: each fact stands here once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Stage = Literal["data", "sft", "reward", "ppo", "dpo", "evaluate"]
SystemName = Literal["base", "sft", "ppo", "dpo", "sft_best_of_n", "ppo_best_of_n"]


@dataclass(frozen=True)
class StageFacts:
    """A stage of a run.

    Attributes:
        purpose: what it does, in a few words.
        role: the role that it trains; None for one that trains nothing.
        needs: the trained stages that must be finished before it begins.
        speaks: whether its role gives replies.
    """

    purpose: str
    role: str | None = None
    needs: tuple[str, ...] = ()
    speaks: bool = False


STAGES: dict[str, StageFacts] = {
    "data": StageFacts("load the dialogues and the base model"),
    "sft": StageFacts("learn from the dialogues how people keep to a persona", "sft", speaks=True),
    "reward": StageFacts("learn which replies are better", "reward", ("sft",)),
    "ppo": StageFacts("improve the replies against the reward model", "policy", ("sft", "reward"), speaks=True),
    "dpo": StageFacts("learn directly from preference pairs", "policy", ("sft",), speaks=True),
    "evaluate": StageFacts("measure every system on held-out personas"),
}
TRAINED = tuple(name for name, stage in STAGES.items() if stage.role)
"""The stages that train a role, in the order in which a run does them."""


@dataclass(frozen=True)
class SystemFacts:
    """What can be evaluated.

    Attributes:
        title: its name in a sentence.
        stage: the stage whose role speaks; None: the base alone.
        best_of_n: whether the reward model chooses among several replies.
        compared_with: other systems; the first is the one that it started from.
    """

    title: str
    stage: str | None = None
    best_of_n: bool = False
    compared_with: tuple[str, ...] = ()

    @property
    def role(self) -> str | None:
        """The role that speaks; None: the base alone."""
        return STAGES[self.stage].role if self.stage else None

    @cached_property
    def loaded(self) -> tuple[str, ...]:
        """The stages whose roles it consists of."""
        return ((self.stage,) if self.stage else ()) + (("reward",) if self.best_of_n else ())

    @property
    def roles(self) -> set[str]:
        """The roles that it consists of."""
        return {role for stage in self.loaded if (role := STAGES[stage].role)}

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """All trained stages behind it, in the order of a run."""
        behind = {need for stage in self.loaded for need in (*STAGES[stage].needs, stage)}
        return tuple(stage for stage in TRAINED if stage in behind)


SYSTEMS: dict[str, SystemFacts] = {
    "base": SystemFacts("the base model"),
    "sft": SystemFacts("SFT", "sft", compared_with=("base",)),
    "sft_best_of_n": SystemFacts("SFT, best of n", "sft", True, ("sft",)),
    "ppo": SystemFacts("PPO", "ppo", compared_with=("sft", "sft_best_of_n")),
    "ppo_best_of_n": SystemFacts("PPO, best of n", "ppo", True, ("ppo", "sft_best_of_n")),
    "dpo": SystemFacts("DPO", "dpo", compared_with=("sft",)),
}
"""In the order of tables. PPO is compared with what its reward model does without it, and both together with either."""
SINGLE = tuple(name for name, system in SYSTEMS.items() if not system.best_of_n)
"""Those that give the reply they sample."""
BEST_OF_N = tuple(name for name, system in SYSTEMS.items() if system.best_of_n)
LATEST = ("ppo", "dpo", "sft", "base")
"""The first of these that a run has is its result."""
STEPS = tuple((name, SYSTEMS[name].compared_with[0]) for name in SINGLE if name != "base")
"""Each trained system and the one that it started from."""
PAIRS = tuple((name, other) for name, system in SYSTEMS.items() for other in system.compared_with)
"""Every comparison of a run: a system, and the one that it is compared with."""


def position(name: str) -> tuple[int, str]:
    """Where a system stands in tables; unknown names follow in alphabetical order."""
    return (list(SYSTEMS).index(name) if name in SYSTEMS else len(SYSTEMS), name)
