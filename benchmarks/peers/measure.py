"""What the scripts of the peers share: the work, the clock, the record. Runs in the peers' own environments, which do not
have Selfsame; `benchmarks/workload.py` writes the work."""

from __future__ import annotations

import argparse
import itertools
import json
import time
from importlib.metadata import version
from pathlib import Path

import torch
from peft import LoraConfig
from transformers import TrainerCallback


def options(stages: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=stages)
    parser.add_argument("--work", type=Path, required=True, help="folder from benchmarks/workload.py")
    parser.add_argument(
        "--settings", choices=("default", "best"), default="default", help="the peer's own, or its fastest"
    )
    parser.add_argument("--float32", action="store_true", help="no bfloat16 in either setting")
    parser.add_argument("--adapters", choices=("all", "upper", "none"), default="all", help="none: full fine-tuning")
    parser.add_argument("--memory", type=float, help="GiB of GPU memory that the process may use")
    parser.add_argument("--json", type=Path, required=True)
    chosen = parser.parse_args()
    if chosen.memory and torch.cuda.is_available():
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, chosen.memory * 2**30 / whole))
    chosen.content = json.loads((chosen.work / "work.json").read_text())
    chosen.model = str(chosen.work / "model")
    return chosen


def base_dtype(chosen: argparse.Namespace) -> torch.dtype:
    """Of the weights as loaded: float32 as trl's own scripts do, or, where that is faster, bfloat16."""
    return torch.bfloat16 if chosen.settings == "best" and not chosen.float32 else torch.float32


def lora(chosen: argparse.Namespace, task: str) -> LoraConfig | None:
    """The adapters that every engine has."""
    if chosen.adapters == "none":
        return None
    content, layers = chosen.content, None
    if chosen.adapters == "upper":
        layers = list(range(content["layers"] // 2, content["layers"]))
    rank, alpha = content["lora"]["rank"], content["lora"]["alpha"]
    return LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=content["targets"], task_type=task, layers_to_transform=layers
    )


class Clock(TrainerCallback):
    """Wall-clock times of the ends of optimiser steps, the first of which is the beginning of the training."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_begin(self, args, state, control, **_):
        self.times.append(now())

    def on_step_end(self, args, state, control, **_):
        self.times.append(now())

    def seconds(self, optimiser_steps: int) -> list[float]:
        """Of each step of the work, which takes so many steps of the optimiser."""
        marks = self.times[::optimiser_steps]
        return [after - before for before, after in itertools.pairwise(marks)]


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory() -> int:
    """Bytes: of the GPU if there is one, else the largest resident set of the process (getrusage's would be at least that
    of the process that started it)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def finish(chosen: argparse.Namespace, seconds: list[float], losses: list[float]) -> None:
    """Writes the record. `losses`: what the peer logged, to see that it trained."""
    if len(seconds) != chosen.content["amount"]["steps"]:
        raise SystemExit(f"{len(seconds)} steps were timed, not {chosen.content['amount']['steps']}")
    record = {
        "seconds": seconds,
        "peak_memory": peak_memory(),
        "losses": losses,
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("trl", "torch", "transformers", "peft")},
    }
    chosen.json.write_text(json.dumps(record))


def logged(trainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]
