"""Trains stages in groups of one, two and four processes and saves what came out: `processes.py MODEL OUT`.

All are forks of this process, so that none imports anything. A job is `plain-STAGE`; `shard-STAGE`, on a base that is split
over the processes; `half-STAGE`, the same until it is stopped after two steps; or `rest-STAGE`, which resumes a copy of the
`half` of two processes.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import stages
import test_loop
import torch
from safetensors.torch import save_file
from test_roles import load
from torch.multiprocessing import start_processes

from selfsame.model import parallel
from selfsame.model.trunk import blocks_of
from selfsame.rollout.engine import RolloutEngine
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.directory import RunDirectory
from selfsame.run.logger import RunLogger
from selfsame.training.keeper import Record

JOBS = {
    1: ("plain-sft", "plain-reward", "plain-ppo", "plain-ppo-reward"),
    2: ("plain-sft", "plain-ppo-reward", "shard-sft", "shard-reward", "shard-ppo", "half-ppo"),
    4: ("shard-sft", "shard-reward", "rest-ppo"),
}
"""By number of processes. What two began is resumed by four, and last by one."""


class Stopped(Exception):
    """Stands for a kill: nothing after it runs."""


def do(job: str, model: str, out: Path) -> None:
    """Does a job in this process, together with the others."""
    kind, _, stage = job.partition("-")
    name = f"{job}-{parallel.world()}"
    if parallel.is_main() and kind == "rest":
        shutil.copytree(out / f"half-{stage}-2", out / name)
    loading = partial(load, shard=kind != "plain")
    with patch.object(test_loop, "load", loading), patch.object(stages, "load", loading):
        trainer = test_loop.make(stage, model, record(out / name, stage))
    trainer.roles.settings = trainer.roles.settings.model_copy(update={"dropout": 0.0})  # its masks depend on the batch
    if kind == "half":
        stop_after(trainer, 2)
    else:
        trainer.train()
    save_file(test_loop.states(trainer), out / f"{name}.{parallel.rank()}.safetensors")
    about = {"bytes": local_bytes(trainer.roles.base), "replies": greedy(trainer.roles, trainer.trained[0])}
    (out / f"{name}.{parallel.rank()}.json").write_text(json.dumps(about))


def record(folder: Path, stage: str) -> Record:
    """One run of all processes, which the first writes; it also shows samples, alone."""
    if parallel.is_main():
        RunDirectory.create(folder, {"seed": 0})
    parallel.barrier()
    directory = RunDirectory.open(folder)
    logger = RunLogger(directory, enabled=parallel.is_main())
    return Record(CheckpointManager(directory.checkpoints(stage)), logger, 2, 2, shown=stages.prompts()[:1])


def stop_after(trainer: Any, steps: int) -> None:
    collect = trainer.collect

    def until(step: int) -> Any:
        if step == steps:
            raise Stopped
        return collect(step)

    trainer.collect = until
    try:
        trainer.train()
    except Stopped:
        trainer.collect = collect


def local_bytes(base: Any) -> int:
    """Bytes of the base's blocks that this process keeps, without adapters."""
    kept = [p for n, p in blocks_of(base)[1].named_parameters() if "lora_" not in n]
    return sum(p.nbytes for p in (getattr(p, "_local_tensor", p) for p in kept))


def greedy(roles: Any, role: str) -> list[list[int]]:
    """Replies to prompts of which the processes have unequal shares."""
    prompts = [roles.processor.encode_prompt(prompt, 12) for prompt in stages.prompts()[:5]]
    mine = parallel.share(prompts)
    groups = RolloutEngine(roles).sample(role, mine, torch.zeros(len(mine), 12), 0.0)
    return [reply.ids for (reply,) in parallel.gather(groups)]


def process(rank: int, count: int, jobs: Sequence[str], port: int, model: str, out: Path) -> None:
    """One of `count` processes."""
    group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()})
    torch.set_num_threads(1)
    parallel.start()
    for job in jobs:
        do(job, model, out)
    parallel.stop()


if __name__ == "__main__":
    for count, jobs in (*JOBS.items(), (1, ("rest-ppo",))):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        start_processes(process, (count, jobs, port, sys.argv[1], Path(sys.argv[2])), count, start_method="fork")
