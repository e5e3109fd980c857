"""Settings of a run: where its records go, how often it is saved, which trackers get them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfsame.settings import Settings
from selfsame.systems import TRAINED, Stage, SystemName

TrackerName = Literal["wandb", "tensorboard", "trackio"]
_BUDGETS = tuple(f"training.{stage}.token_budget" for stage in TRAINED)
FREE = ("run", "model.device", "model.shard", "sampling.batch_size", *_BUDGETS)
"""Settings that change no result, as dotted names or beginnings of them: where a run is, and how much memory it takes. They may
be others where a run is resumed or started from, and are no difference between runs that are compared."""


def is_free(key: str) -> bool:
    """Whether the setting of this dotted name changes no result."""
    return any(key == name or key.startswith(f"{name}.") for name in FREE)


class RunSettings(Settings):
    """The run directory, its stages, checkpoints, trackers and prices."""

    directory: str | None = None
    """Folder of the run; by default `runs/<preset or name>-<hash of the settings>`, so that the same command resumes the
    same run."""
    stages: tuple[Stage, ...] = Field(default=("sft", "reward", "ppo", "evaluate"), min_length=1)
    """Stages to run, in this order; finished ones are skipped. `data` only loads the data and the base model, which every
    run does first."""
    systems: tuple[SystemName, ...] = ()
    """Systems to evaluate, in this order; by default the base and all trained ones. Systems with `best_of_n` in their name
    need the reward model and `evaluation.best_of` above 1."""
    start_from: str | None = None
    """Directory of another run: its SFT and reward stages are copied if they would come out the same. Or selfsame-135m,
    the run in the package: its SFT and reward model are used with any data, for a base of the same name; with
    selfsame-135m:ppo its PPO policy stands in the place of SFT, and training continues from there."""
    max_hours: float | None = Field(default=None, gt=0)
    """Time limit in hours since the program started: the run finishes its current step, the sampling of pairs or the
    evaluation of a system, saves and stops; the same command resumes it."""
    save_every: int = Field(default=50, ge=1)
    """Steps between checkpoints; the last step of a stage is always saved."""
    keep: int = Field(default=2, ge=1)
    """Checkpoints kept per stage. One is enough to resume; two also survive a damaged file."""
    trackers: tuple[TrackerName, ...] = ()
    """Experiment trackers, in addition to metrics.jsonl. W&B stays offline, in the run directory, unless WANDB_API_KEY is
    set."""
    gpu_hourly_rate: float = Field(default=0.35, ge=0)
    """Price of one GPU for one hour, in dollars. A run on a CPU is listed without a price."""
    storage_cost_per_gb: float = Field(default=0.10, ge=0)
    """Price of storing 10^9 bytes, in dollars; charged once, for the run directory."""
    samples_every: int = Field(default=10, ge=1)
    """Steps between sample replies in samples.jsonl; the first and the last step always have some."""
    shown: int = Field(default=4, ge=0)
    """Number of held-out prompts that the model in training answers there, the same ones each time."""
