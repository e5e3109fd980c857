"""How our own speed and memory grow, and whether `selfsame plan` foresaw it.

    python -m benchmarks.scaling run --json benchmarks/results/scaling.json
    python -m benchmarks.scaling plot benchmarks/results/scaling.json --png docs/scaling.png
    python -m benchmarks.scaling check benchmarks/results/scaling.json --readme benchmarks/README.md --marker check
    python -m benchmarks.scaling plan --readme benchmarks/README.md --marker plan

Each measurement is a process of its own (two, for two processes), none beside another; the first step is not counted. What the
JSON file holds already is not measured again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.foresight import check_table, plan_table
from benchmarks.shapes import SHAPES
from benchmarks.workload import Amount, build
from selfsame.plan.hardware import copy_bandwidth, gemm_peak
from selfsame.plan.probe import operation_seconds
from selfsame.report.tables import update_readme
from selfsame.run.environment import describe_environment
from selfsame.run.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY = 6000
"""Ids of made-up prompts are below it, in every shape."""


@dataclass(frozen=True)
class Point:
    """A measurement: `value` on the axis `axis` of a stage. `width`: tokens of made-up prompts (0: the data's)."""

    axis: str
    value: float
    stage: str
    shape: str
    amount: Amount
    processes: int = 1
    width: int = 0

    @property
    def key(self) -> str:
        return f"{self.axis}/{self.stage}/{self.value:g}"


def points(options: argparse.Namespace) -> list[Point]:
    """All measurements."""
    shape, base = (
        options.shape,
        Amount(steps=options.steps, prompts=4, samples=4, batch=8, new_tokens=options.new_tokens),
    )
    few = replace(base, batch=2, prompts=1)
    found = [Point("batch", n, "sft", shape, replace(base, batch=n)) for n in options.batches]
    found += [Point("prompt tokens", n, "generate", shape, base, width=n) for n in options.widths]
    for n in options.samples:
        found.append(
            Point("replies to a prompt", n, "ppo", shape, replace(base, samples=n, prompts=max(options.samples) // n))
        )
    for size in options.sizes:
        found += [Point("parameters", _parameters(size), stage, size, few) for stage in ("sft", "ppo")]
    for n in (1, 2):
        found += [Point("processes", n, stage, shape, base, processes=n) for stage in ("sft", "ppo")]
    return found


def _parameters(shape: str) -> int:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(SHAPES[shape]).parameters())


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures what is not in the file yet."""
    kept = ("shape", "sizes", "batches", "widths", "samples", "steps", "new_tokens", "data")
    asked = {name: getattr(options, name) for name in kept}
    record: dict[str, Any] = {"options": asked, "measurements": {}}
    if options.json.exists():
        record = read_json(options.json)
        if record["options"] != asked:
            raise SystemExit(f"{options.json} holds measurements with other options: {record['options']}")
    torch.set_num_threads(1)
    record.setdefault("environment", describe_environment())
    record.setdefault("gemm", gemm_peak())
    record.setdefault("bandwidth", copy_bandwidth())
    record.setdefault("operation", operation_seconds())
    with tempfile.TemporaryDirectory() as folder:
        for number, point in enumerate(points(options)):
            if options.only and not point.key.startswith(tuple(options.only)):
                continue
            if "seconds" in record["measurements"].get(point.key, {}):
                continue
            print(point.key, file=sys.stderr, flush=True)
            work = _work(point, options.data, Path(folder) / str(number), Path(folder) / "models")
            record["measurements"][point.key] = {**asdict(point), **_measure(point, work)}
            write_json(options.json, record)
    return record


def _work(point: Point, data: str, folder: Path, models: Path) -> Path:
    """The work of a point; a model is made once for all points of its shape."""
    made = models / point.shape
    folder.mkdir(parents=True)
    made.mkdir(parents=True, exist_ok=True)
    (folder / "model").symlink_to(made)
    build(point.shape, data, point.amount, folder)
    if point.width:
        content = read_json(folder / "work.json")
        generator = torch.Generator().manual_seed(0)
        shape = (point.amount.steps, point.amount.prompts, point.width)
        content["prompts"] = torch.randint(5, VOCABULARY, shape, generator=generator).tolist()
        write_json(folder / "work.json", content)
    return folder


def _measure(point: Point, work: Path) -> dict[str, Any]:
    """Seconds of the steps that count, amount of work a step, peak memory, lengths."""
    out = work / "record.json"
    command = ["-m", "benchmarks.ours", point.stage, "--work", str(work), "--json", str(out)]
    if point.processes > 1:
        several = ["--nproc-per-node", str(point.processes), "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
        command = ["-m", "torch.distributed.run", *several, *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, cwd=ROOT)
    if done.returncode or not out.exists():
        return {"failed": (done.stderr.strip() or "no message").splitlines()[-1]}
    made, content = read_json(out), read_json(work / "work.json")
    rows = content["sft"][1:] or content["sft"]
    tokens = statistics.fmean(sum(len(row["ids"]) for row in step) for step in rows)
    amount = point.amount
    return {
        "seconds": made["seconds"][1:],
        "work": tokens if point.stage == "sft" else amount.prompts * amount.samples,
        "peak_memory": made["peak_memory"],
        "dtype": made["dtype"],
        "rows": [[len(row["ids"]), row["spans"]] for row in rows[0]],
        "prompts": [len(prompt) for prompt in content["prompts"][-1]],
    }


def rate(measurement: dict[str, Any]) -> float:
    """Tokens (SFT) or replies a second: the median step."""
    return measurement["work"] / statistics.median(measurement["seconds"])


def plot(record: dict[str, Any], path: Path) -> None:
    """A panel for each axis: throughput, a line for each stage."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    made = [m for m in record["measurements"].values() if "seconds" in m]
    axes = list(dict.fromkeys(m["axis"] for m in made))
    columns = min(3, len(axes))
    rows = -(-len(axes) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(4 * columns, 3.2 * rows), squeeze=False, layout="constrained")
    for panel, axis in zip(panels.flat, axes, strict=False):
        _panel(panel, axis, [m for m in made if m["axis"] == axis])
    for panel in panels.flat[len(axes) :]:
        panel.set_axis_off()
    figure.suptitle(
        f"{record['options']['shape']} unless said, one thread a process, {record['environment']['cpu']}", fontsize=9
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


_UNITS = {"sft": "SFT, tokens/s", "ppo": "PPO, replies/s", "generate": "sampling, replies/s"}


def _panel(panel: Any, axis: str, measurements: list[dict[str, Any]]) -> None:
    """Logarithmic both ways, so that proportional is a straight line, except processes: times one process."""
    for stage in dict.fromkeys(m["stage"] for m in measurements):
        own = sorted((m for m in measurements if m["stage"] == stage), key=lambda m: m["value"])
        values, rates = [m["value"] for m in own], [rate(m) for m in own]
        if axis == "processes":
            if values[0] != 1:
                continue  # nothing to hold it against
            rates = [r / rates[0] for r in rates]
        panel.plot(values, rates, marker="o", label=_UNITS[stage])
        for value, speed in zip(values, rates, strict=True):
            text = f"{speed:,.0f}" if speed >= 1000 else f"{speed:.3g}"
            panel.annotate(text, (value, speed), textcoords="offset points", xytext=(0, 6), fontsize=7, ha="center")
    if axis == "processes":
        panel.set(xticks=[1, 2], ylim=(0, 2.4), xlim=(0.7, 2.3), ylabel="times one process")
    else:
        panel.set(xscale="log", yscale="log", ylabel="work a second")
        panel.margins(0.15)
        rates = [rate(m) for m in measurements]
        panel.set_ylim(min(rates) / 4, max(rates) * 6)
        ticks = sorted({m["value"] for m in measurements})
        names = [f"{t / 1e6:.3g}M" if t >= 1e5 else f"{t:g}" for t in ticks]
        panel.set_xticks(ticks, names)
        panel.minorticks_off()
    panel.set_xlabel(axis)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize=7, loc="upper right")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("--json", type=Path, required=True)
    command.add_argument("--data", default="demo", help="as data.path in Selfsame's configuration")
    command.add_argument("--shape", choices=SHAPES, default="10m", help="of everything but the model sizes")
    command.add_argument("--sizes", nargs="+", choices=SHAPES, default=["tiny", "10m", "35m", "124m"])
    command.add_argument("--batches", nargs="+", type=int, default=[2, 4, 8, 16])
    command.add_argument("--widths", nargs="+", type=int, default=[64, 128, 256, 448])
    command.add_argument("--samples", nargs="+", type=int, default=[1, 2, 4, 8])
    command.add_argument("--steps", type=int, default=4, help="the first is not counted")
    command.add_argument("--new-tokens", type=int, default=32)
    command.add_argument(
        "--only", nargs="+", help="measurements whose names begin with one of these, such as batch/sft"
    )
    for name in ("plot", "check"):
        command = commands.add_parser(name)
        command.add_argument("json", type=Path)
        if name == "plot":
            command.add_argument("--png", type=Path, required=True)
        else:
            _table_options(command, "check")
    _table_options(commands.add_parser("plan"), "plan")
    options = parser.parse_args(arguments)
    if options.command == "plot":
        plot(read_json(options.json), options.png)
        return
    if options.command == "plan":
        text = plan_table()
    else:
        text = check_table(run(options) if options.command == "run" else read_json(options.json))
    print(text)
    if options.command != "run" and options.readme:
        update_readme(options.readme, options.marker, text)


def _table_options(command: argparse.ArgumentParser, marker: str) -> None:
    command.add_argument("--readme", type=Path, help="file that the table is written into, too")
    command.add_argument("--marker", default=marker)


if __name__ == "__main__":
    main()
