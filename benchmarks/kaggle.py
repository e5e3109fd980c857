"""Does the preset for two T4 keep within their memory? A stand-in on a CPU: gpt2-medium's shape with random weights, float16
base, float32 adapters, loss scaling, the preset's batches and token budgets on the bundled dialogues, two processes, and none
of them may hold more than 15 GiB of its own (RLIMIT_DATA). One step of each stage: later ones split their batches at the same
token budget.

    python -m benchmarks.kaggle --json benchmarks/results/kaggle-cpu.json [--gib 15] [--shape gpt2-medium]

What it cannot show is a GPU: its allocator, its kernels' workspaces, its time.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.shapes import SHAPES, make_model
from selfsame import finished, load_config, train
from selfsame.report.tables import markdown_grid, update_readme
from selfsame.run.environment import describe_environment
from selfsame.run.files import read_json, read_jsonl, write_json

STAGES = ("sft", "reward", "ppo")


def settings(base: Path, directory: Path) -> dict[str, Any]:
    """The preset's, but for the model, the dialogues, one step of each stage (of PPO's passes one), and as few pairs as that
    takes."""
    once = {"max_steps": 1}
    return {
        "model": {"base": str(base), "device": "cpu"},
        "data": {"path": "demo"},
        "pairs": {"count": 32, "validation_count": 10},
        "training": {
            "sft": once,
            "reward": once | {"normalise_samples": 8, "comparison_samples": 2},
            "ppo": {"steps": 1, "epochs": 1},
        },
        "run": {"directory": str(directory), "stages": STAGES, "keep": 1},
    }


def measure(shape: str, gib: float, processes: int = 2) -> dict[str, Any]:
    """One step of each stage by processes of which each may hold `gib` GiB; fails where that is too little."""
    limit = int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with tempfile.TemporaryDirectory() as folder:
        base = make_model(shape, Path(folder) / shape)
        config = load_config(preset="kaggle-2xt4", values=settings(base, Path(folder) / "run"))
        run = train(config, processes=processes)
        rows = read_jsonl(run.metrics_path)[0]
        missing = [stage for stage in STAGES if finished(run, stage) is None]
        if missing:
            raise RuntimeError(f"not finished: {missing}")
        peak = read_json(run.path / "cost.json")["peak_memory_bytes"]
        seconds = read_json(run.path / "cost.json")["seconds"]
    return {
        "shape": shape,
        "limit_gib": gib,
        "processes": processes,
        "dtype": config.model.dtype,
        "token_budgets": {stage: getattr(config.training, stage).token_budget for stage in STAGES},
        "peak_gib_of_the_first_process": peak / 2**30,
        "seconds": {stage: seconds[stage] for stage in STAGES},
        "steps": [{key: row.get(key) for key in ("stage", "loss", "kl", "skipped_steps")} for row in rows],
        "environment": describe_environment(),
    }


def table(record: dict[str, Any]) -> str:
    """One line of Markdown for a guide."""
    head = ["shape", "processes", "each may hold", "the first held at most", "sft, s", "reward, s", "ppo, s"]
    seconds = [f"{record['seconds'][stage]:.0f}" for stage in STAGES]
    row = [record["shape"], str(record["processes"]), f"{record['limit_gib']:g} GiB"]
    row += [f"{record['peak_gib_of_the_first_process']:.1f} GiB", *seconds]
    return markdown_grid([head, row])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--gib", type=float, default=15.0)
    parser.add_argument("--shape", choices=SHAPES, default="gpt2-medium")
    parser.add_argument("--readme", type=Path, help="put the table of an existing record there instead of measuring")
    parser.add_argument("--marker", default="kaggle", help="which markers")
    options = parser.parse_args(arguments)
    if options.readme:
        update_readme(options.readme, options.marker, table(read_json(options.json)))
        return
    record = measure(options.shape, options.gib)
    write_json(options.json, record)
    print(table(record))


if __name__ == "__main__":
    main()
