"""What the size of the base decides: the same recipe of pre-training and SFT for several sizes, and how far PPO would then
have to move for a persona that is kept.

    python -m base_model train --data FOLDER --recipe base_model/recipe-2m.yaml --work runs/base-2m
    python -m base_model export --work runs/base-2m --to runs/selfsame-2m
    selfsame run --preset cpu --model.base runs/selfsame-2m --run.stages sft evaluate --run.directory runs/small ...
    python -m benchmarks.sizes run runs/small runs/start --json benchmarks/results/base-sizes.json
    python -m benchmarks.sizes table benchmarks/results/base-sizes.json [--readme FILE --marker sizes]

`benchmarks/tilt.py` says what moving least means, and what of it is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks import tilt
from selfsame.arguments import check_writable
from selfsame.eval.statistics import jackknife
from selfsame.report.tables import Cell, cell_of, markdown_grid, read_evaluations
from selfsame.run.checkpoint import finished
from selfsame.run.directory import RunDirectory, write_json

GOAL = 0.85
METRICS = {"consistency": 3, "expression": 2, "bits_per_byte": 3, "perplexity": 2}
"""Of the SFT model, with their decimals; bits per byte of the base too."""


def main(arguments: Sequence[str] | None = None) -> None:
    several = {"nargs": "+", "help": "directories of runs whose base and SFT were evaluated"}
    options = tilt.parser_of("sizes", __doc__, **several).parse_args(arguments)
    if options.command == "table":
        return tilt.put(options, table)
    check_writable(str(options.json))
    runs = [RunDirectory.open(path) for path in options.runs]
    evaluations = [evaluated(run) for run in runs]  # all of them, before the first is sampled
    records = [
        {"evaluations": found, **tilt.measure(run, options.prompts, options.samples)}
        for run, found in zip(runs, evaluations, strict=True)
    ]
    write_json(options.json, {"sizes": records})


def evaluated(run: RunDirectory) -> dict[str, Any]:
    """System -> metric -> estimate, of base and SFT. Raises SystemExit where one is missing."""
    evaluations = read_evaluations(run)
    if missing := {"base", "sft"} - set(evaluations):
        raise SystemExit(f"{run.path} has no evaluation of {' and '.join(sorted(missing))}")
    if finished(run, "sft") is None:
        raise SystemExit(f"{run.path} has no finished SFT")
    return {system: {name: evaluations[system]["metrics"][name] for name in METRICS} for system in ("base", "sft")}


def moved(record: dict[str, Any], goal: float) -> tuple[Cell, Cell]:
    """(the least KL in nats a reply of a policy that is consistent with the probability `goal`, the factor on the perplexity of
    people's replies with that tilt), their intervals over dialogues."""
    dialogues: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for kind in ("called", "talk"):
        for row in record[kind]:
            dialogues.setdefault(row["dialogue"], []).append((kind, row))

    def cell(which: int) -> Cell:
        return cell_of(
            jackknife(
                lambda some: _moved(some, record["samples"], goal)[which],
                list(dialogues.values()),
                bounds=(0, math.inf),
            ).to_dict()
        )

    return cell(0), cell(1)


def _moved(dialogues: Sequence[Sequence[tuple[str, dict[str, Any]]]], samples: int, goal: float) -> tuple[float, float]:
    rows = {
        wanted: [row for some in dialogues for kind, row in some if kind == wanted] for wanted in ("called", "talk")
    }
    change, kl = tilt.least_kl(tilt.chance([row["p"] for row in rows["called"]], samples), goal)
    return kl, tilt.in_talk(rows["talk"], samples, change)[1]


def table(content: dict[str, Any]) -> str:
    """As Markdown: a line for each base, the smallest first."""
    names = [name.replace("_", " ") for name in METRICS]
    then = [f"least KL for {GOAL}", "perplexity then, times"]
    lines = [["base", "parameters", "bits per byte before SFT", *names, *then]]
    for record in sorted(content["sizes"], key=lambda record: record["parameters"]):
        before, after = (record["evaluations"][system] for system in ("base", "sft"))
        kl, factor = moved(record, GOAL)
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
    counts = f"{len(first['called'])} and {len(first['talk'])} prompts, {first['samples']} samples of SFT to each"
    notes = (
        "Of the SFT model where nothing else is said, in brackets 95 % intervals over dialogues. The last two columns: from"
        f" {counts} at temperature {first['temperature']:g}, of the half of the people that settings are chosen on. The KL"
        " is a bound, estimated rather too small, more so for the weaker base (`benchmarks/tilt.py`); the perplexity is that"
        " of a policy which moves so far and knows no better than SFT when the persona is called for."
    )
    return f"{markdown_grid(lines)}\n\n{notes}"


if __name__ == "__main__":
    main()
