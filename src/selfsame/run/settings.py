"""Settings of a run: where its records go, how often it is saved, who else is told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfsame.settings import Settings

Stage = Literal["data", "sft", "reward", "ppo", "dpo", "evaluate"]
SystemName = Literal["base", "sft", "ppo", "dpo", "sft_best_of_n", "ppo_best_of_n"]
TrackerName = Literal["wandb", "tensorboard", "trackio"]
_BUDGETS = tuple(f"training.{stage}.token_budget" for stage in ("sft", "reward", "ppo", "dpo"))
FREE = ("run", "model.device", "sampling.batch_size", *_BUDGETS)
"""Settings that change no result, as dotted names or beginnings of them: where a run is, and how much memory it takes. They may
be others where a run is resumed or started from, and are no difference between runs that are compared."""


def is_free(key: str) -> bool:
    """Whether the setting of this dotted name changes no result."""
    return any(key == name or key.startswith(f"{name}.") for name in FREE)


class RunSettings(Settings):
    """The run directory, its stages, checkpoints, trackers and prices."""

    directory: str | None = None
    """Folder of the run; without one it is `runs/<preset or name>-<hash of the configuration>`, so the same command
    goes on with the same run."""
    stages: tuple[Stage, ...] = Field(default=("sft", "reward", "ppo", "evaluate"), min_length=1)
    """What to do, in this order. A stage that is finished already is not done again. `data` only loads the data and the base,
    as every run does first, writes the run's records and tells the trackers."""
    systems: tuple[SystemName, ...] = ()
    """Systems that the stage `evaluate` measures, in this order; without any the base and all that are trained. Those with
    `best_of_n` in their name need the reward model, and `evaluation.best_of` above 1."""
    start_from: str | None = None
    """Another run's directory: stages before PPO that would come out the same are copied from there, not trained again. Or
    selfsame-135m, the run in the package: its SFT and reward model are taken whatever the data, for a base of the same name."""
    max_hours: float | None = Field(default=None, gt=0)
    """Wall-clock hours, counted from the start of the program, after which the run saves and stops, to be gone on with by the
    same command. The step at hand, the sampling of pairs or the evaluation of a system is finished first."""
    save_every: int = Field(default=50, ge=1)
    """Steps between two checkpoints; the last step of a stage is always saved."""
    keep: int = Field(default=2, ge=1)
    """Checkpoints kept per stage. One is enough to resume; two also survive a damaged file."""
    trackers: tuple[TrackerName, ...] = ()
    """Trackers fed beside metrics.jsonl. W&B stays offline, in the run directory, unless WANDB_API_KEY is set."""
    gpu_hourly_rate: float = Field(default=0.35, ge=0)
    """Price of one GPU for one hour, in dollars. A run on a CPU has no known price and is listed without one."""
    storage_cost_per_gb: float = Field(default=0.10, ge=0)
    """Price of keeping 10^9 bytes, in dollars; charged once, for the bytes of the run directory."""
    samples_every: int = Field(default=10, ge=1)
    """Steps between two sets of sample replies in samples.jsonl; the first and the last step always have one."""
    shown: int = Field(default=4, ge=0)
    """Held-out prompts that the role in training answers there, the same ones each time."""
