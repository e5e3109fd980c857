"""The interface of a training stage: SFT, reward model, PPO and DPO share one loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from torch import Tensor

from selfsame.model.roles import Roles


class Stage(Protocol):
    """What `fit` asks of a stage.

    Attributes:
        name: of its checkpoints and records.
        roles: the model.
        trained: the roles that it trains.
        settings: an `OptimiserSettings`.
        steps: how many steps it has.
        seed: of everything random in it.
    """

    name: str
    roles: Roles
    trained: tuple[str, ...]
    settings: Any
    steps: int
    seed: int

    @property
    def eval_every(self) -> int | None:
        """Steps between evaluations; None: only after the last step."""
        ...

    def begin(self) -> None:
        """Make the roles what they are before the first step. A resumed stage loads them instead."""
        ...

    def collect(self, step: int) -> Any:
        """Return the global batch of a step, the same in every process: a function of the seed, the step and the roles."""
        ...

    def minibatches(self, batch: Any, step: int) -> Iterable[Sequence[Any]]:
        """Yield, for each optimiser step, this process's parts of the minibatch."""
        ...

    def role_of(self, part: Any) -> str:
        """Return the role that learns from a part."""
        ...

    def loss(self, part: Any) -> tuple[Tensor, dict[str, float]]:
        """Return a part's share of the minibatch's loss and of its statistics: those of all parts add up to the whole."""
        ...

    def metrics(self, batch: Any) -> dict[str, float]:
        """Return what the batch itself tells, before any update."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Measure the roles on held-out data."""
        ...

    def samples(self) -> list[dict[str, Any]]:
        """Return what the roles say now to the same few held-out prompts, as rows of `samples.jsonl`."""
        ...

    def finish(self) -> None:
        """Do what is due once, after the last step and before it is saved."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a resumed stage needs besides weights and optimiser, as JSON."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned.

        Raises:
            RunError: the checkpoint was trained on other data.
        """
        ...
