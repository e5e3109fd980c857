"""The one loop that drives every stage, and what it needs: the optimiser, the order of the data, checkpoints.

A stage is a plain object (see `Stage`). Everything random in it is a function of (seed, step): a killed run resumes from its
last checkpoint exactly as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsame.model import parallel
from selfsame.model.concurrent import concurrently
from selfsame.run.interruption import Interrupted, Interruption, interruptible
from selfsame.run.logger import Progress
from selfsame.training.keeper import Keeper, Record
from selfsame.training.optimiser import Optimiser
from selfsame.training.stage import Stage

DATA_ORDER, MINIBATCH_ORDER = 1, 3
"""What random numbers are for; replies have 2 (`rollout/sampler.py`). No two uses share a stream, but for the samples of the
reward stage and of PPO's first steps: to other prompts, and of another role."""
SHOWN = ("loss", "accuracy", "reward", "kl")
"""Metrics shown beside the progress bar."""


def fit(stage: Stage, record: Record | None = None) -> None:
    """Trains a stage to its last step, going on from the newest checkpoint of `record` if there is one.

    Raises:
        RunError: gradients were not finite several steps in a row.
        KeyboardInterrupt: after Ctrl-C, once the update at hand is done and saved; from sampling and evaluation at once.
        TimeUp: when the time of `record.limit` is up, once the step at hand is done and saved.
    """
    if record is None or record.checkpoints.latest() is None:
        stage.begin()  # before the optimiser takes hold of the roles' parameters
    optimiser = Optimiser(stage.roles, stage.trained, stage.settings, stage.steps)
    keeper = Keeper(stage, optimiser, record)
    start = keeper.restore()
    if start.finished:
        return
    known = start.done - (start.waiting is not None)
    bar = Progress(stage.steps, stage.name, enabled=parallel.is_main(), done=known)
    with deterministic(), interruptible() as interruption, bar as progress, parallel.lost_is_told():
        if start.waiting is not None:
            end_step(stage, keeper, start.done, start.waiting, interruption, progress)
        for step in range(start.done, stage.steps):
            torch.manual_seed(stage.seed * 1_000_003 + step)  # dropout of the adapters
            batch = collect(stage, keeper, step, interruption)
            metrics = update(stage, optimiser, batch, step)
            end_step(stage, keeper, step + 1, metrics, interruption, progress)


def collect(stage: Stage, keeper: Keeper, step: int, interruption: Interruption) -> Any:
    """The batch of a step. Where Ctrl-C ends its sampling, the steps before are saved: nothing of this one has been learned."""
    try:
        with interruption.at_once(parallel.world() == 1):  # several processes stop together, at the end of a step
            return stage.collect(step)
    except Interrupted:
        if step > keeper.saved:
            keeper.save(step)
        raise


def end_step(
    stage: Stage,
    keeper: Keeper,
    step: int,
    metrics: dict[str, float],
    interruption: Interruption,
    progress: Progress,
) -> None:
    """What follows on the update: evaluation where it is due, the records, and whether to stop here."""
    last, record = step == stage.steps, keeper.record
    if last or (stage.eval_every and step % stage.eval_every == 0):
        metrics = metrics | evaluate(stage, keeper, step, metrics, interruption)
    late = record is not None and record.limit.late()
    stop = parallel.sum_numbers({"pressed": float(interruption.pressed()), "late": float(late)})
    keeper.log(step, metrics)
    if last or any(stop.values()) or (keeper.due(step) and keeper.saved != step):
        keeper.save(step, done=last)
    parallel.barrier()
    progress.advance(1, ", ".join(f"{name} {metrics[name]:.3f}" for name in SHOWN if name in metrics))
    if stop["pressed"]:
        raise KeyboardInterrupt
    if stop["late"] and record and not last:
        record.limit.stop(f"{stage.name}, step {step} of {stage.steps}")


def evaluate(
    stage: Stage, keeper: Keeper, step: int, metrics: dict[str, float], interruption: Interruption
) -> dict[str, float]:
    """Numbers on held-out data. A checkpoint that is due is written before: whatever ends the evaluation, which can take long,
    ends no more than that."""
    if keeper.due(step) and keeper.saved != step:
        keeper.save(step, waiting=metrics)
    try:
        with interruption.at_once(parallel.world() == 1 or (keeper.saved == step and not parallel.in_lockstep())):
            found = stage.evaluate()
            if step == stage.steps:
                stage.finish()
            return found
    except Interrupted:
        if keeper.saved != step:
            keeper.save(step, waiting=metrics)
        raise


def update(stage: Stage, optimiser: Optimiser, batch: Any, step: int) -> dict[str, float]:
    """Passes over the batch of a step, an optimiser step for each minibatch; returns the step's metrics."""
    totals = Totals()
    for minibatch in stage.minibatches(batch, step):
        for role, parts in groupby(minibatch, stage.role_of):
            for numbers in learn(stage, optimiser, role, [*parts]):
                totals.add(numbers)
        totals.close(optimiser.step(step))
    return stage.metrics(batch) | totals.means()


def learn(stage: Stage, optimiser: Optimiser, role: str, parts: Sequence[Any]) -> Iterator[dict[str, float]]:
    """Adds up the gradients of the parts of a minibatch that `role` learns from; gives the statistics of each."""

    def learned(part: Any) -> tuple[Sequence[Tensor | None], dict[str, float]]:
        loss, numbers = stage.loss(part)
        return optimiser.gradient(loss), numbers

    if role in stage.roles.weighted and stage.roles.learns_concurrently:
        with stage.roles.training(role) as model:  # several parts at once find it in force
            for gradient, numbers in concurrently(learned, parts, model, stage.settings.token_budget):
                optimiser.add(gradient)
                yield numbers
        return
    for part in parts:
        loss, numbers = stage.loss(part)
        optimiser.backward(loss)
        yield numbers


@dataclass
class Totals:
    """Statistics of a step: parts of a minibatch add up, minibatches are averaged."""

    sums: dict[str, float] = field(default_factory=dict)
    own: dict[str, list[float]] = field(default_factory=dict)
    minibatches: int = 0

    def add(self, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def close(self, numbers: dict[str, float]) -> None:
        """Ends a minibatch; `numbers` are already those of the whole minibatch."""
        self.minibatches += 1
        for name, value in numbers.items():
            self.own.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        sums = parallel.sum_numbers(self.sums)
        own = {n: v[-1] if n == "skipped_steps" else sum(v) / len(v) for n, v in self.own.items()}
        return {n: v / self.minibatches for n, v in sums.items()} | own


def batch_indices(count: int, batch_size: int, step: int, seed: int) -> list[int]:
    """Indices of the batch of `step`: passes over a shuffled range(count), each in another order."""
    orders: dict[int, Any] = {}
    found = []
    for at in range(step * batch_size, (step + 1) * batch_size):
        epoch, place = divmod(at, count)
        if epoch not in orders:
            orders[epoch] = np.random.default_rng([DATA_ORDER, seed, epoch]).permutation(count)
        found.append(int(orders[epoch][place]))
    return found


def step_count(items: int, batch_size: int, epochs: float, max_steps: int | None) -> int:
    """Optimiser steps of so many passes over the items."""
    steps = max(1, math.ceil(epochs * items / batch_size))
    return steps if max_steps is None else min(steps, max_steps)


@contextmanager
def deterministic() -> Iterator[None]:
    """Sums in a fixed order: without it, resumed and uninterrupted runs drift apart. (New tensors need not be filled.)"""
    module: Any = torch.utils.deterministic
    before, fill = torch.are_deterministic_algorithms_enabled(), module.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    # PyTorch would fill every new tensor in this mode, which cost visible time in the profile of a PPO step.
    module.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        module.fill_uninitialized_memory = fill
