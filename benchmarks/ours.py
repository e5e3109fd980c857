"""Seconds a step and peak memory of Selfsame's stages on one shape, as one JSON record.

    python -m benchmarks.ours --shape 10m --stages sft reward ppo --repeats 5 --json out.json

The work is always the same: dialogues of the package, replies of a fixed length. Speed is told as work per second (median
over the repeats after one warm-up step), not as a ratio: what it is compared with is measured in the same session.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.shapes import SHAPES, make_model
from selfsame.data.generator import PreferenceGenerator
from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings, PairSettings
from selfsame.model.roles import Roles, load_roles
from selfsame.model.settings import LoraSettings, ModelSettings
from selfsame.run.directory import write_json
from selfsame.run.environment import describe_environment
from selfsame.training.loop import Optimiser, Totals
from selfsame.training.ppo import PPOTrainer
from selfsame.training.reward import RewardTrainer
from selfsame.training.settings import PPOSettings, RewardSettings, SFTSettings
from selfsame.training.sft import SFTTrainer

STAGES = ("sft", "reward", "ppo")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ours", description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="10m")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="dialogues, pairs or prompts a step")
    parser.add_argument("--samples", type=int, default=4, help="replies to a prompt in PPO")
    parser.add_argument("--new-tokens", type=int, default=32, help="length of every reply in PPO")
    parser.add_argument("--token-budget", type=int, default=4096)
    parser.add_argument("--memory", type=float, help="GiB of GPU memory that the process may use")
    parser.add_argument("--json", type=Path, help="where the record goes")
    options = parser.parse_args()
    if options.memory and torch.cuda.is_available():
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.memory * 2**30 / whole))
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(options.shape, Path(folder))
        record = {
            "shape": options.shape,
            "options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
            "environment": describe_environment(),
            "stages": {name: _guarded(name, model, options) for name in options.stages},
        }
    print(json.dumps(record["stages"], indent=1))
    if options.json:
        write_json(options.json, record)


def _guarded(name: str, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A stage that runs out of memory is a result too."""
    try:
        return _measure(name, model, options)
    except torch.OutOfMemoryError as error:
        return {"out_of_memory": str(error).split("\n")[0]}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _measure(name: str, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    settings = ModelSettings(base=str(model), dtype=options.dtype, max_length=512, lora=LoraSettings(rank=8, alpha=16))
    roles = load_roles(settings)
    stage = _stage(name, roles, options)
    optimiser = Optimiser(roles, stage.trained, stage.settings, options.repeats + 1)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    seconds, metrics = [], {}
    for step in range(options.repeats + 1):
        began = _clock()
        batch = stage.collect(step)
        totals = Totals()
        for minibatch in stage.minibatches(batch, step):
            for part in minibatch:
                loss, numbers = stage.loss(part)
                optimiser.backward(loss)
                totals.add(numbers)
            totals.close(optimiser.step(step))
        seconds.append(_clock() - began)
        metrics = stage.metrics(batch) | totals.means()
    work = _work(name, stage, options)
    median = statistics.median(seconds[1:])
    return {
        "seconds": [round(s, 4) for s in seconds],
        "median": median,
        "unit": work[0],
        "per_second": work[1] / median,
        "peak_memory": _peak_memory(),
        "dtype": str(roles.base.dtype).removeprefix("torch."),
        "skipped_steps": metrics["skipped_steps"],
        "finite": all(v == v and abs(v) < float("inf") for v in metrics.values()),
    }


def _stage(name: str, roles: Roles, options: argparse.Namespace) -> Any:
    data = DatasetLoader(DataSettings(path="demo")).load()
    common: dict[str, Any] = {"token_budget": options.token_budget, "learning_rate": 1e-4}
    pairs = PreferenceGenerator(data.train, PairSettings(), 0)
    if name == "sft":
        settings = SFTSettings(batch_size=options.batch, max_steps=options.repeats + 1, epochs=1000, **common)
        return SFTTrainer(roles, train=data.train, settings=settings)
    for role in ("sft", "reward"):
        roles.add(role)
    if name == "reward":
        settings = RewardSettings(batch_size=options.batch, max_steps=options.repeats + 1, epochs=1000, **common)
        return RewardTrainer(roles, pairs=pairs.generate_pairs(64), settings=settings)
    settings = PPOSettings(
        steps=options.repeats + 1,
        prompts_per_step=options.batch,
        samples_per_prompt=options.samples,
        max_new_tokens=options.new_tokens,
        **common,
    )
    trainer = PPOTrainer(roles, prompts=pairs.extract_prompts(256), settings=settings)
    roles.processor.end_id = -1  # no reply ends early: the same work in every step and for every engine
    return trainer


def _work(name: str, stage: Any, options: argparse.Namespace) -> tuple[str, float]:
    """(unit, amount in the median step)."""
    if name == "sft":
        rows: Sequence[Any] = [row for step in range(1, options.repeats + 1) for row in stage.collect(step)]
        return "tokens", sum(len(row.ids) for row in rows) / options.repeats
    return ("pairs", options.batch) if name == "reward" else ("episodes", options.batch * options.samples)


def _clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak_memory() -> int:
    """Bytes: of the GPU if there is one, else the largest resident set of the process so far."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
