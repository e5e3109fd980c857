"""A long run: do memory, open files and files on the disk stay what they were?

    python -m benchmarks.soak --json benchmarks/results/soak.json --readme docs/robustness.md --marker soak

A tiny run does as many steps of SFT and PPO as a model of 124 M parameters does in eight hours on a CPU (`scaling.json`: 1.5
and 7.5 seconds a step), with a checkpoint every 20 steps. It is looked at from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos.recipe import STAGES, Recipe, Running
from selfsame.report.tables import update_readme
from selfsame.run.environment import describe_environment
from selfsame.run.files import read_json, write_json

STEPS = {"sft": 9600, "ppo": 1920}
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOKS = 120
"""Looks at a stage that are recorded, at the most."""
FLAT = 0.02
"""A stage is flat where memory grows by no more than this over its second half."""


@dataclass(frozen=True)
class Look:
    """The process at a moment: `files` are those of the run directory."""

    stage: str
    step: int
    memory: int
    descriptors: int
    threads: int
    files: int


def look(running: Running, directory: Path, stage: str, step: int) -> Look:
    """What the system says of the process."""
    process = Path(f"/proc/{running.process}")
    memory = int((process / "statm").read_text().split()[1]) * _PAGE
    files = sum(len(names) for _, _, names in os.walk(directory))  # which minds no folder that is removed meanwhile
    counts = (len(list((process / name).iterdir())) for name in ("fd", "task"))
    return Look(stage, step, memory, *counts, files)


def run(folder: Path, steps: Mapping[str, int]) -> dict[str, Any]:
    """Runs it and looks at it at equal steps."""
    recipe, directory, looks, environment = Recipe(folder), folder / "run", [], describe_environment()
    more = f"""--run.save-every 20 --run.samples-every 100 --training.sft.epochs 1000000 --training.sft.max-steps {steps["sft"]}
        --training.ppo.steps {steps["ppo"]} --training.sft.eval-every 100 --training.ppo.eval-every 100"""
    running, began = recipe.start([*recipe.command(directory, STAGES), *more.split()]), time.monotonic()
    while running.wait_for(0):
        time.sleep(0.5)
        stage, step = _last(directory / "metrics.jsonl")
        if stage in steps and not (looks and (looks[-1].stage, looks[-1].step) == (stage, step)):
            looks.append(look(running, directory, stage, step))
    seconds, ended = time.monotonic() - began, running.wait()
    if ended.code:
        raise SystemExit(f"the run ended with exit code {ended.code}: {ended.said[-1000:]}")
    kept = [asdict(found) for stage in steps for found in _thinned([n for n in looks if n.stage == stage])]
    return {"environment": environment, "steps": dict(steps), "seconds": seconds, "looks": kept}


def _last(metrics: Path) -> tuple[str, int]:
    """Stage and number of the newest step."""
    lines = metrics.read_bytes().split(b"\n") if metrics.exists() else []
    row = json.loads(lines[-2]) if len(lines) > 1 else {"stage": "", "step": 0}
    return row["stage"], row["step"]


def _thinned(looks: Sequence[Look]) -> Sequence[Look]:
    return looks[:: 1 + len(looks) // _LOOKS]


def summary(record: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Of the second half of a stage: memory in its third and last quarter (medians), its growth, and the span of the rest."""
    looks = [n for n in record["looks"] if n["stage"] == stage]
    steps = record["steps"][stage]
    third, last = ([n["memory"] for n in looks if low < n["step"] / steps <= low + 0.25] for low in (0.5, 0.75))
    if not third or not last:
        raise SystemExit(f"{stage} was too short to be looked at in its second half")
    before, after = statistics.median(third), statistics.median(last)
    half = [n for n in looks if n["step"] > steps / 2]
    spans = {
        name: (min(n[name] for n in half), max(n[name] for n in half)) for name in ("descriptors", "threads", "files")
    }
    return {"third": before, "last": after, "growth": after / before - 1, **spans}


def is_flat(found: Mapping[str, Any]) -> bool:
    """Whether nothing grows: files come and go with the one checkpoint that is being written."""
    low, high = found["descriptors"]
    return found["growth"] <= FLAT and high - low <= 4 and found["threads"][0] == found["threads"][1]


def table(record: Mapping[str, Any]) -> str:
    """The second half of each stage."""
    lines = [
        "| stage | steps | memory, third quarter | last quarter | growth | open files | threads | files of the run | flat |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for stage, steps in record["steps"].items():
        found = summary(record, stage)
        memory = " | ".join(f"{found[name] / 2**20:.1f} MiB" for name in ("third", "last"))
        spans = " | ".join("{} to {}".format(*found[name]) for name in ("descriptors", "threads", "files"))
        flat = "yes" if is_flat(found) else "no"
        lines.append(f"| {stage} | {steps:,} | {memory} | {found['growth']:+.2%} | {spans} | {flat} |")
    return "\n".join([*lines, "", f"{record['seconds'] / 60:.0f} minutes; the checkpoints are of every 20th step."])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="the record; where it exists, only the table is made")
    parser.add_argument("--readme", type=Path, help="put the table between the markers of this file")
    parser.add_argument("--marker", default="soak")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps")
    options = parser.parse_args(arguments)
    if not options.json.exists():
        steps = {stage: round(count * options.share) for stage, count in STEPS.items()}
        with tempfile.TemporaryDirectory() as folder:
            write_json(options.json, run(Path(folder), steps))
    record = read_json(options.json)
    if options.readme:
        update_readme(options.readme, options.marker, table(record))
    print(table(record))
    return int(not all(is_flat(summary(record, stage)) for stage in record["steps"]))


if __name__ == "__main__":
    sys.exit(main())
