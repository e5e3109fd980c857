"""The records of a stage in training, and the point from which it resumes.

A checkpoint is one of three: in the middle of the stage; of a step whose evaluation is still to come (`waiting`: the step's
numbers so far); of the stage when it is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from selfsame.model import parallel
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.logger import RunLogger
from selfsame.training.optimiser import Optimiser
from selfsame.training.stage import Stage
from selfsame.training.stopping import TimeLimit
from selfsame.types import Prompt


@dataclass
class Record:
    """Where a stage's checkpoints, metrics and samples go, and when it is to stop and save. `shown`: held-out prompts that the
    role in training answers there."""

    checkpoints: CheckpointManager
    logger: RunLogger
    save_every: int = 50
    samples_every: int = 10
    limit: TimeLimit = field(default_factory=TimeLimit)
    shown: Sequence[Prompt] = ()


@dataclass(frozen=True)
class Start:
    """Where a stage goes on: so many steps are done, the last of them but for its evaluation if its numbers are `waiting`."""

    done: int = 0
    finished: bool = False
    waiting: dict[str, float] | None = None


class Keeper:
    """Writes to a record, and reads from it; without one it does nothing. `saved`: the step of the newest checkpoint."""

    def __init__(self, stage: Stage, optimiser: Optimiser, record: Record | None) -> None:
        self.stage, self.optimiser, self.record, self.saved = stage, optimiser, record, 0

    def restore(self) -> Start:
        """Loads the newest checkpoint, if there is one, and drops what was recorded after it."""
        stage, record = self.stage, self.record
        if record is None:
            return Start()
        if record.checkpoints.latest() is None:
            record.logger.truncate(stage.name, 0)
            return Start()
        checkpoint = record.checkpoints.load()
        self.optimiser.detach()
        for role in (*stage.trained, *checkpoint.state.get("kept", ())):
            stage.roles.load(role, checkpoint.path / role)
        self.optimiser.attach()
        self.saved = checkpoint.step
        if checkpoint.state["done"]:
            return Start(checkpoint.step, finished=True)
        self.optimiser.load_state(checkpoint.tensors["optimiser"], checkpoint.state["optimiser"])
        stage.load_state(checkpoint.state["stage"])
        waiting = checkpoint.state.get("waiting")
        record.logger.truncate(stage.name, checkpoint.step - (waiting is not None))
        return Start(checkpoint.step, waiting=waiting)

    def due(self, step: int) -> bool:
        """Whether a checkpoint of this step is due whatever happens."""
        return self.record is not None and (step == self.stage.steps or step % self.record.save_every == 0)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes a step's metrics, and its samples where they are due: at the first step, the last, and some between."""
        if self.record is None:
            return
        self.record.logger.log(self.stage.name, step, metrics)
        if parallel.is_main() and (step in (1, self.stage.steps) or step % self.record.samples_every == 0):
            self.record.logger.sample(self.stage.name, step, self.stage.samples())

    def save(self, step: int, done: bool = False, waiting: Mapping[str, float] | None = None) -> None:
        """Writes a checkpoint. `waiting`: the numbers of a step that is still to be evaluated."""
        self.saved = step
        if self.record is None or not parallel.is_main():
            return
        stage, (tensors, state) = self.stage, self.optimiser.state()
        beside: tuple[str, ...] = getattr(stage, "kept", ())
        kept = {"done": done, "optimiser": state, "stage": stage.state(), "kept": list(beside)}
        self.record.checkpoints.save(
            step,
            {"optimiser": tensors},
            kept if waiting is None else kept | {"waiting": dict(waiting)},
            # Each role has a folder in its stage's: PPO and DPO both train a `policy`, and a run can hold both.
            [lambda folder, role=role: stage.roles.save(role, folder / role) for role in (*stage.trained, *beside)],
        )
