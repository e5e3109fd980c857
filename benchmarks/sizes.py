"""What the size of the base decides: the same recipe of pre-training and SFT for several sizes, and what PPO would then have
to pay at the least for a persona that is kept.

    python -m base_model train --data FOLDER --recipe base_model/recipe-4m.yaml --work runs/base-4m
    python -m base_model export --work runs/base-4m --to runs/selfsame-4m
    selfsame run --preset cpu --model.base runs/selfsame-4m --run.stages sft evaluate --run.directory runs/sft-4m ...
    python -m benchmarks.sizes run runs/sft-4m runs/sft-9m --json benchmarks/results/base-sizes.json
    python -m benchmarks.sizes table benchmarks/results/base-sizes.json [--readme README.md --marker sizes]

`benchmarks/tilt.py` says what the least is, and of what kind of policy. Its intervals here leave out one twentieth of the
prompts at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import tilt
from selfsame.eval.statistics import jackknife
from selfsame.report.tables import Cell, cell_of, markdown_grid, read_evaluations, update_readme
from selfsame.run.directory import RunDirectory, read_json, write_json

GOAL = 0.85
METRICS = {"consistency": 3, "expression": 2, "bits_per_byte": 3, "perplexity": 2}
"""Of the SFT model, with their decimals; bits per byte of the base too."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("runs", type=Path, nargs="+", help="directories of runs whose base and SFT were evaluated")
    command.add_argument("--prompts", type=int, default=200)
    command.add_argument("--samples", type=int, default=16, help="replies to each prompt")
    command.add_argument("--json", type=Path, required=True)
    command = commands.add_parser("table")
    command.add_argument("json", type=Path)
    command.add_argument("--readme", type=Path)
    command.add_argument("--marker", default="sizes")
    options = parser.parse_args(arguments)
    if options.command == "run":
        runs = [RunDirectory.open(path) for path in options.runs]
        write_json(options.json, {"sizes": [measure(run, options.prompts, options.samples) for run in runs]})
        return
    text = table(read_json(options.json))
    if options.readme:
        update_readme(options.readme, options.marker, text)
    print(text)


def measure(run: RunDirectory, prompts: int, samples: int) -> dict[str, Any]:
    """One run: what its evaluations say of base and SFT, and what `benchmarks.tilt` records of it."""
    evaluations = read_evaluations(run)
    if missing := {"base", "sft"} - set(evaluations):
        raise SystemExit(f"{run.path} has no evaluation of {' and '.join(sorted(missing))}")
    found = {system: {name: evaluations[system]["metrics"][name] for name in METRICS} for system in ("base", "sft")}
    return {"evaluations": found, **tilt.measure(run, prompts, samples)}


def least(record: dict[str, Any], goal: float) -> tuple[Cell, Cell]:
    """(KL in nats a reply, factor on the perplexity of people's replies), each with its interval, at the least, where the
    policy is consistent with the probability `goal`."""
    items = [(kind, row) for kind in ("called", "talk") for row in record[kind]]

    def cell(statistic: Callable[[float, float], float]) -> Cell:
        found = jackknife(lambda some: statistic(*_least(some, record["samples"], goal)), items)
        return cell_of({"value": found.value, "low": found.low, "high": found.high})

    return cell(lambda kl, _: kl), cell(lambda _, factor: factor)


def _least(items: Sequence[tuple[str, dict[str, Any]]], samples: int, goal: float) -> tuple[float, float]:
    called, talk = ([row for kind, row in items if kind == wanted] for wanted in ("called", "talk"))
    change, kl = tilt.least_kl(tilt.chance([row["p"] for row in called], samples), goal)
    return kl, tilt.in_talk(talk, samples, change)[1]


def table(content: dict[str, Any]) -> str:
    """As Markdown: a line for each base, the smallest first."""
    names = [name.replace("_", " ") for name in METRICS]
    lines = [
        ["base", "parameters", "bits per byte before SFT", *names, f"least KL for {GOAL}", "least perplexity, times"]
    ]
    for record in sorted(content["sizes"], key=lambda record: record["parameters"]):
        before, after = (record["evaluations"][system] for system in ("base", "sft"))
        kl, factor = least(record, GOAL)
        lines.append(
            [
                record["base"],
                f"{record['parameters'] / 1e6:.1f} M",
                cell_of(before["bits_per_byte"]).show(METRICS["bits_per_byte"]),
                *(cell_of(after[name]).show(decimals) for name, decimals in METRICS.items()),
                kl.show(2),
                factor.show(3),
            ]
        )
    first = content["sizes"][0]
    return (
        f"{markdown_grid(lines)}\n\nOf the SFT model where nothing else is said. The least: from {len(first['called'])} and "
        f"{len(first['talk'])} prompts, {first['samples']} samples of SFT to each at temperature {first['temperature']:g}."
    )


if __name__ == "__main__":
    main()
