"""Where a command spends its time: `selfsame ...` in this process under Python's profiler, in named parts.

    python -m benchmarks.spent --json benchmarks/results/spent.json --column "demo" -- demo --run.directory runs/spent
    python -m benchmarks.spent --json benchmarks/results/spent.json --plain-cpu --column "demo, no bfloat16" -- demo ...
    python -m benchmarks.spent --json benchmarks/results/spent.json --readme docs/performance.md --marker spent

Each command adds a column to the record. `--plain-cpu` computes as a CPU does that has neither bfloat16 nor AVX-512. The
profiler itself costs a few per cent: it counts calls of Python, of which there are few beside the work of PyTorch.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PLAIN = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
PARTS = {
    "SFT": ("pipeline.py", "_sft"),
    "reward model": ("pipeline.py", "_reward"),
    "PPO": ("pipeline.py", "_ppo"),
    "- what makes sense to people (bounds)": ("stage_inputs.py", "reward_sense"),
    "- sampling": ("collect.py", "collect_rollout"),
    "- rewards": ("rewards.py", "measure"),
    "- updates": ("loop.py", "update"),
    "- held-out replies during training": ("during_training.py", "__call__"),
    "evaluation": ("pipeline.py", "_evaluate"),
    "- replies": ("evaluate.py", "generate"),
    "- what makes sense to people (bounds) ": ("evaluate.py", "sense_of"),
    "- sense and contradictions of replies": ("scoring.py", "of_character"),
    "- the same where the persona is called for": ("scoring.py", "of_grounded"),
    "- perplexity": ("quality.py", "compute_perplexity"),
    "- Hits@1": ("evaluate.py", "_hits_at_1"),
    "- reference rows": ("evaluate.py", "_references"),
    "- intervals and fitted scores": ("evaluate.py", "aggregate"),
    "report": ("page.py", "write_report"),
}
"""What a part is called, and the function (its file and name) that does it. Lines with a dash are parts of the one above; some
of them share what is computed once, which counts for the first."""


def measure(command: list[str], plain: bool) -> dict[str, Any]:
    """Seconds of each part of a command, in a process of its own, and of all of it."""
    with tempfile.TemporaryDirectory() as folder:
        file, environment = Path(folder) / "profile", dict(os.environ)
        if plain:
            environment |= PLAIN
            command = [*command, "--model.dtype", "float32"]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", __spec__.name, "--profile", str(file), "--", *command],
                       env=environment, check=True)  # fmt: skip
        total = time.perf_counter() - began
        stats: Any = pstats.Stats(str(file))
        return {
            "total": total,
            "parts": parts_of(stats.stats),
            # A record names no machine's folders.
            "command": [Path(word).name if os.path.isabs(word) else word for word in command],
            "load": os.getloadavg()[0],
            "plain_cpu": plain,
        }


def parts_of(stats: dict[tuple[str, int, str], tuple[Any, ...]]) -> dict[str, float]:
    """Seconds of `PARTS`, from the numbers of a profile; those that never ran are left out."""
    found: dict[str, float] = {}
    for part, (file, name) in PARTS.items():
        seconds = [row[3] for (path, _, function), row in stats.items()
                   if function == name and Path(path).name == file and "selfsame" in Path(path).parts]  # fmt: skip
        if seconds:
            found[part] = sum(seconds)
    return found


def table(record: dict[str, Any]) -> str:
    """The columns of a record beside each other."""
    from selfsame.report.tables import markdown_grid

    columns = record["columns"]
    names = [name for name in PARTS if any(name in column["parts"] for column in columns.values())]
    rows = [[name.strip(), *(_seconds(column["parts"].get(name)) for column in columns.values())] for name in names]
    whole = ["**all**, with start and loading", *(_seconds(column["total"]) for column in columns.values())]
    return markdown_grid([["seconds", *columns], *rows, whole])


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _profiled(file: str, command: list[str]) -> None:
    from selfsame.cli import main as selfsame

    profile = cProfile.Profile()
    code = profile.runcall(selfsame, command)
    profile.dump_stats(file)
    sys.exit(code)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="the record")
    parser.add_argument("--column", help="what the measured column is called")
    parser.add_argument("--plain-cpu", action="store_true", help="no bfloat16, no AVX-512")
    parser.add_argument("--readme", type=Path, help="put the table of an existing record there instead of measuring")
    parser.add_argument("--marker", default="spent", help="which markers")
    parser.add_argument("--profile", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help="of selfsame, after --")
    options = parser.parse_args(arguments)
    if options.profile:
        _profiled(options.profile, options.command)
        return
    if not options.json:
        parser.error("--json is missing: name the record")
    from selfsame.report.tables import update_readme
    from selfsame.run.environment import describe_environment
    from selfsame.run.files import read_json, write_json

    if options.readme:
        update_readme(options.readme, options.marker, table(read_json(options.json)))
        return
    if not (options.column and options.command):
        parser.error("name a --column, and after -- a command of selfsame")
    record = read_json(options.json) if options.json.exists() else {"columns": {}}
    column = measure(options.command, options.plain_cpu) | {"environment": describe_environment()}
    record["columns"][options.column] = column
    write_json(options.json, record)
    print(table(record))


if __name__ == "__main__":
    main()
