"""Seconds a step and peak memory of a stage of Selfsame on a workload, as a JSON record.

python -m benchmarks.ours ppo --work FOLDER --json out.json
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.workload import Amount, batch_as_json, roles_of, stage
from selfsame.model import parallel
from selfsame.model.roles import Roles
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.sampler import reply_noise
from selfsame.run.environment import describe_environment
from selfsame.run.files import read_json, write_json
from selfsame.training.loop import deterministic, update
from selfsame.training.optimiser import Optimiser

STAGES = ("sft", "reward", "ppo", "generate")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ours", description=__doc__.split("\n")[0])
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--work", type=Path, required=True, help="folder from benchmarks.workload")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--adapters", default="all", choices=("all", "upper"))
    parser.add_argument("--value-model", help="of PPO; default: the setting's own")
    parser.add_argument("--advantage-estimator", help="of PPO; default: the setting's own")
    parser.add_argument("--memory", type=float, help="GiB of GPU memory that the process may use")
    parser.add_argument(
        "--flops", action="store_true", help="count floating-point operations instead of taking the time"
    )
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    if options.memory and torch.cuda.is_available():
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.memory * 2**30 / whole))
    parallel.start()
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))  # several processes would share out all cores
    try:
        record = _measure(options)
    except torch.OutOfMemoryError as error:  # a result too
        record = {"out_of_memory": str(error).split("\n")[0]}
    if parallel.is_main():
        write_json(options.json, record)
    parallel.stop()


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    content = read_json(options.work / "work.json")
    amount = Amount(**content["amount"])
    lora = {"layers": content["layers"] - content["layers"] // 2} if options.adapters == "upper" else {}
    roles = roles_of(options.work / "model", options.dtype, **lora)
    step = (
        _generation(roles, content, amount)
        if options.stage == "generate"
        else _training(roles, content, amount, options)
    )
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if options.flops:
        torch.set_num_threads(1)  # passes at once have threads of their own, which nobody counts
        with FlopCounterMode(display=False) as counter:
            for number in range(1, amount.steps):
                step(number)
        return {"flops": counter.get_total_flops() / (amount.steps - 1)}
    seconds, metrics = [], []
    with deterministic():  # as every run is
        for number in range(amount.steps):
            began = _clock()
            metrics.append(step(number))
            seconds.append(_clock() - began)
    return {
        "seconds": seconds,
        "peak_memory": _peak_memory(),
        "dtype": str(roles.base.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "losses": [m.get("loss", m.get("policy_loss")) for m in metrics],
        "environment": describe_environment(),
    }


def _training(roles: Roles, content: dict[str, Any], amount: Amount, options: argparse.Namespace) -> Any:
    """One step of a stage, as `selfsame.training.loop.fit` does it."""
    chosen = {"value_model": options.value_model, "advantage_estimator": options.advantage_estimator}
    changes = {name: value for name, value in chosen.items() if value}
    trainer = stage(options.stage, roles, content["data"], amount, **changes)
    optimiser = Optimiser(roles, trainer.trained, trainer.settings, amount.steps)

    def step(number: int) -> dict[str, float]:
        batch = trainer.collect(number)
        if options.stage in content:
            assert batch_as_json(options.stage, batch) == content[options.stage][number], "not the peers' tokens"
        return update(trainer, optimiser, batch, number)

    return step


def _generation(roles: Roles, content: dict[str, Any], amount: Amount) -> Any:
    """Replies to the prompts of a step."""
    roles.add("sft")
    roles.processor.end_id = -1
    engine = RolloutEngine(roles)

    def step(number: int) -> dict[str, float]:
        prompts = content["prompts"][number]
        numbers_NR = reply_noise(0, number, range(len(prompts) * amount.samples), amount.new_tokens)
        replies = engine.sample("sft", prompts, numbers_NR)
        assert all(len(reply.ids) == amount.new_tokens for group in replies for reply in group)
        return {}

    return step


def _clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak_memory() -> int:
    """Bytes: of the GPU if there is one, else the largest resident set of the process (getrusage's would be at least that
    of the process that started it)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    main()
