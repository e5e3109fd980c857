"""What adapters save: the same run twice, with adapters and with full fine-tuning, measured in turn.

    python -m benchmarks.savings run runs/savings --preset cpu --data.path FILE --full --training.sft.learning-rate 2e-5
    python -m benchmarks.savings table runs/savings/savings.json --readme docs/performance.md --marker savings

Both runs get the same options, so the same data, steps and episodes; `--model.lora...` is for the first alone, and what
follows `--full` for the second alone. Each is `selfsame run` in a process of its own, whose time and peak memory it records
itself. A run that is finished is not repeated; one that was stopped goes on, and the table says so. This module imports no
torch: nothing it holds weighs on the measured processes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsame.config import read_config
from selfsame.errors import ConfigError, SelfsameError
from selfsame.report.tables import UNKNOWN, markdown_table, rows_of, update_readme
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_json, write_json
from selfsame.run.metrics import T4_MEMORY_GB, estimate_gpus, memory_key, percent_saved, savings_between
from selfsame.run.records import EvaluationRecord

STAGES = ("sft", "reward", "ppo")
QUALITY = ("grounding", "bits_per_byte", "engagement")
KINDS = ("lora", "full")
RESULT = "savings.json"
OURS = ("run.directory", "run.stages", "model.tuning", "seed")
"""Settings that this command chooses."""


@dataclass(frozen=True)
class Run:
    """One of the runs. `options`: of `selfsame run`."""

    kind: str
    seed: int
    folder: Path
    options: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> bool:
        """Evaluated and reported, which comes last."""
        return all((self.folder / part).exists() for part in ("cost.json", "eval/ppo.json", "report.html"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.savings", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="FOLDER [--seeds N] [OPTIONS OF selfsame run ...] [--full OPTIONS ...]")
    command.add_argument("folder", type=Path)
    command.add_argument("options", nargs=argparse.REMAINDER)
    command = commands.add_parser("table")
    command.add_argument("json", type=Path)
    command.add_argument("--readme", type=Path)
    command.add_argument("--marker", default="savings")
    options = parser.parse_args(arguments)
    try:
        if options.command == "run":
            measure(options.folder, options.options)
        text = table(read_json(options.folder / RESULT if options.command == "run" else options.json))
        print(text)
        if options.command == "table" and options.readme:
            update_readme(options.readme, options.marker, text)
    except SelfsameError as error:
        print(f"benchmarks.savings: {error}", file=sys.stderr)
        return 2
    return 0


# --- the runs -----------------------------------------------------------------------------------------------------------


def measure(folder: Path, arguments: Sequence[str]) -> None:
    """Does what is not done of the runs, one after the other, and writes `savings.json`.

    Raises:
        ConfigError: the options are wrong, or not those of the runs in the folder.
        SystemExit: a run failed; it has said why.
    """
    runs = plan(folder, arguments)
    configs = {run.name: read_config(run.options)[0].model_dump(mode="json") for run in runs}
    for run in runs:  # all are checked before the first of them starts
        RunDirectory.create(run.folder, configs[run.name])
    path = folder / RESULT
    starts: dict[str, int] = read_json(path)["starts"] if path.exists() else {}
    for run in runs:
        if not run.finished:
            starts[run.name] = starts.get(run.name, 0) + 1
            write_json(path, {"starts": starts})
            _start(run)
    records = [record_of(run, configs[run.name]) | {"starts": starts.get(run.name, 1)} for run in runs]
    write_json(path, {"starts": starts, "runs": records, "savings": savings(records)})


def plan(folder: Path, arguments: Sequence[str]) -> list[Run]:
    """The runs that the options ask for: for each seed one of each kind."""
    at = list(arguments).index("--full") if "--full" in arguments else len(arguments)
    shared, full_only = list(arguments[:at]), list(arguments[at + 1 :])
    seeds = _take_seeds(shared)
    for name in (*_names(shared), *_names(full_only)):
        if name in OURS:
            raise ConfigError(f"--{name} is chosen by this command: leave it out")
    for name in _names(full_only):
        if not name.endswith("learning_rate"):
            raise ConfigError(f"--{name} after --full would make the runs unlike: only learning rates may differ")
    own = {"lora": shared, "full": [*_without_adapters(shared), *full_only]}
    runs = []
    for seed in range(seeds):
        for kind in KINDS:
            place = folder / (f"{kind}-{seed}" if seed else kind)
            fixed = ["--model.tuning", kind, "--seed", str(seed), "--run.directory", str(place)]
            stages = ["--run.stages", *STAGES, "evaluate"]
            runs.append(Run(kind, seed, place, (*own[kind], *fixed, *stages)))
    return runs


def _take_seeds(options: list[str]) -> int:
    """Takes `--seeds N` out of the options; 1 where it is not there."""
    if "--seeds" not in options:
        return 1
    at = options.index("--seeds")
    given = options[at + 1 : at + 2]
    if not given or not given[0].isdecimal() or not 1 <= int(given[0]) <= 100:
        raise ConfigError(f"--seeds needs a number from 1 to 100, got {' '.join(given) or 'nothing'}")
    del options[at : at + 2]
    return int(given[0])


def _names(options: Sequence[str]) -> list[str]:
    flags = (o.partition("=")[0] for o in options if o.startswith("--"))
    return [flag.removeprefix("--").replace("-", "_") for flag in flags]


def _without_adapters(options: Sequence[str]) -> list[str]:
    """The options but those of adapters, with their values."""
    kept, leave_out = [], False
    for option in options:
        if option.startswith("--"):
            leave_out = option.startswith("--model.lora.")
        if not leave_out:
            kept.append(option)
    return kept


def _start(run: Run) -> None:
    print(f"{run.name}: selfsame run {' '.join(run.options)}", file=sys.stderr, flush=True)
    child = subprocess.Popen([sys.executable, "-m", "selfsame.cli", "run", *run.options], stdout=subprocess.DEVNULL)
    while True:
        try:
            code = child.wait()
            break
        except KeyboardInterrupt:  # the run got it too: it saves, and then ends
            continue
    if code:
        raise SystemExit(code)


# --- what they took -----------------------------------------------------------------------------------------------------


def record_of(run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a finished run measured: bill, seconds of the stages, bytes of the roles and of all checkpoints, quality."""
    bill = read_json(run.folder / "cost.json")
    seconds = {stage: bill["seconds"][stage] for stage in STAGES}
    metrics = read_json(run.folder / "eval" / "ppo.json")["metrics"]
    ppo, training = config["training"]["ppo"], config["training"]
    return {
        "name": run.name,
        "kind": run.kind,
        "seed": run.seed,
        "seconds": seconds,
        "bill": bill,
        "role_bytes": sum(_role_bytes(run.folder / "checkpoints" / stage) for stage in STAGES),
        "checkpoint_bytes": _bytes_of((run.folder / "checkpoints").rglob("*")),
        "metrics": {name: metrics[name] for name in QUALITY},
        "base": config["model"]["base"],
        "episodes": ppo["steps"] * ppo["prompts_per_step"] * ppo["samples_per_prompt"],
        "learning_rates": {stage: training[stage]["learning_rate"] for stage in STAGES},
        "environment": read_json(run.folder / "environment.json"),
    }


def _role_bytes(checkpoints: Path) -> int:
    """Of the roles in the last checkpoint of a stage, without the optimiser; adapters need the base beside them."""
    return _bytes_of(max(checkpoints.glob("step-*")).glob("*/*"))


def _bytes_of(paths: Any) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def savings(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each seed, percent of what full fine-tuning took that adapters did not. Time: of the training stages. Cost: of the
    whole run, where it has a price."""
    found = []
    for seed in sorted({record["seed"] for record in records}):
        ours, theirs = (next(r for r in records if (r["seed"], r["kind"]) == (seed, kind)) for kind in KINDS)
        bills = [r["bill"] | {"total_seconds": sum(r["seconds"].values())} for r in (ours, theirs)]
        found.append(
            {
                "seed": seed,
                **savings_between(*bills),
                **{f"{s}_saved_percent": percent_saved(ours["seconds"][s], theirs["seconds"][s]) for s in STAGES},
                **{f"{k}_saved_percent": percent_saved(ours[k], theirs[k]) for k in ("role_bytes", "checkpoint_bytes")},
            }
        )
    return found


# --- table --------------------------------------------------------------------------------------------------------------

_RESOURCES = ("sft", "reward", "ppo", "time", "memory", "estimated_gpus", "role_bytes", "checkpoint_bytes")


def table(record: Mapping[str, Any]) -> str:
    """Markdown of a finished record: what each run took, what adapters saved, and the quality of what came out."""
    if "runs" not in record:
        raise ConfigError(f"the runs are not finished: give the command again to go on (started: {record['starts']})")
    runs, saved = record["runs"], record["savings"]
    memory = memory_key(*(run["bill"] for run in runs))
    head = ["run", *(f"{stage}, s" for stage in STAGES), "training, s", f"peak memory of the {_owner(memory)}"]
    head += [f"GPUs of {T4_MEMORY_GB:g} GB (estimate)", "roles on disk, base apart", "all checkpoints"]
    lines = [head, ["---", *("---:" for _ in head[1:])]]
    lines += [_resource_line(run, memory) for run in runs]
    lines += [_saved_line(one, len(saved) > 1) for one in saved]
    took = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    quality = rows_of({run["name"]: EvaluationRecord(metrics=run["metrics"]) for run in runs})
    return "\n\n".join([took, markdown_table(quality), *_notes(record)])


def _owner(memory: str) -> str:
    return "GPU" if memory == "peak_gpu_memory_bytes" else "process"


def _resource_line(run: Mapping[str, Any], memory: str) -> list[str]:
    peak = run["bill"].get(memory)
    seconds = [run["seconds"][stage] for stage in STAGES]
    gpus = estimate_gpus(run["bill"].get("peak_gpu_memory_bytes"))
    sizes = [peak, run["role_bytes"], run["checkpoint_bytes"]]
    shown = [UNKNOWN if size is None else f"{size / 10**6:,.0f} MB" for size in sizes]
    times = [f"{value:,.1f}" for value in (*seconds, sum(seconds))]
    return [run["name"], *times, shown[0], UNKNOWN if gpus is None else str(gpus), *shown[1:]]


def _saved_line(saved: Mapping[str, Any], several: bool) -> list[str]:
    cells = [saved[f"{name}_saved_percent"] for name in _RESOURCES]
    name = f"saved, seed {saved['seed']}" if several else "saved"
    return [f"**{name}**", *(UNKNOWN if cell is None else f"**{round(cell)}%**" for cell in cells)]


def _notes(record: Mapping[str, Any]) -> list[str]:
    first, environment = record["runs"][0], record["runs"][0]["environment"]
    rates = {
        run["kind"]: ", ".join(f"{stage} {run['learning_rates'][stage]:g}" for stage in STAGES)
        for run in record["runs"]
    }
    gpus = ", ".join(gpu["name"] for gpu in environment["gpus"]) or "no GPU"
    machine = f"{environment['cpu']}, {environment['cores']} cores, {gpus}"
    notes = [
        f"Base {first['base']}, {first['episodes']} episodes of PPO in each run; {machine}. Learning rates: "
        + "; ".join(f"{kind}: {text}" for kind, text in rates.items())
        + ". Quality is that of the ppo system on held-out personas, in brackets its confidence interval.",
        _cost_note(record["savings"]),
        "One measurement of each. Full fine-tuning keeps all four models in float32, and in training the logits of its"
        " vocabulary heads, which adapters on a frozen head do without: part of the memory saved is that. Its learning rates"
        " were not searched.",
    ]
    stopped = [f"{run['name']} ({run['starts']} starts)" for run in record["runs"] if run["starts"] > 1]
    if stopped:
        notes.append(
            f"Stopped and gone on with (its time holds lost steps, its peak what loading took): {', '.join(stopped)}."
        )
    return notes


def _cost_note(saved: Sequence[Mapping[str, Any]]) -> str:
    costs = [one["cost_saved_percent"] for one in saved]
    if any(cost is None for cost in costs):
        return (
            "The cost in money is not known, for a CPU has no listed price; at any one price for an hour of the machine the"
            " cost of training falls as its time does."
        )
    return f"Cost of the whole run, evaluation and storage included: {', '.join(f'{c:.0f}%' for c in costs)} saved."


if __name__ == "__main__":
    sys.exit(main())
