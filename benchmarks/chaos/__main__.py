"""Nothing lost: a run that is killed, starved of disk, damaged or doubled, and started again.

    python -m benchmarks.chaos --json benchmarks/results/chaos.json --readme docs/robustness.md --marker chaos

Every trial disturbs a run of all stages and gives the same command again. It must end as the undisturbed run did, bit for
bit, or in one line for the user, and no file may be half-written. What the JSON file holds already is not tried again.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from selfsame.report.tables import update_readme
from selfsame.run.environment import describe_environment
from selfsame.run.files import read_json, write_json

from . import damage, trials
from .recipe import STAGES, Recipe, Writes
from .trials import Reference, Trial, Wrong
from .verdict import results

WRONG = "wrong"
COUNTS: dict[str, tuple[Callable[[Trial], str], int]] = {
    "kill -9 at any time, four times": (trials.kill, 13),
    "kill -9 before any write, four times": (trials.kill_at_write, 12),
    "full disk": (trials.full_disk, 20),
    "SIGTERM": (trials.terminate, 10),
    "one of two processes killed": (trials.two_processes, 5),
    "two runs in one directory": (trials.two_runs, 5),
    "clock set back": (trials.clock, 5),
    "data set changed": (trials.other_data, 5),
}
"""Disturbance -> what does it, and how often."""
DAMAGED = "damaged file"
KINDS = (*COUNTS, DAMAGED)


class Chaos:
    """All trials of a session, in a folder.

    stages: of the runs.
    """

    def __init__(self, folder: Path, stages: Sequence[str]) -> None:
        self.folder, self.recipe = folder, Recipe(folder, stages)
        self.reference = self._undisturbed("reference", self.recipe.command(folder / "reference"))
        self._pair: Reference | None = None

    def todo(self, only: Collection[str]) -> Iterator[tuple[str, Callable[[Trial], str]]]:
        """(name, what it does) of every trial of these disturbances."""
        for kind, (act, count) in COUNTS.items():
            yield from ((f"{kind}/{number}", act) for number in range(count) if kind in only)
        if DAMAGED in only:
            yield from self._damage()

    def _damage(self) -> Iterator[tuple[str, Callable[[Trial], str]]]:
        middle = self.folder / "middle"
        damage.stop_in_the_middle(self.recipe, middle)
        for state, directory in zip(damage.STATES, (middle, self.reference.directory), strict=True):
            for kind, names in damage.kinds(directory):
                if kind in damage.REWRITTEN or (state == damage.STATES[1] and "checkpoints" in names[0]):
                    continue
                for how in damage.HARMS:
                    act = partial(damage.damaged, before=directory, names=names, how=how)
                    yield f"{DAMAGED}/{state}/{kind}/{how}", act

    def trial(self, name: str, act: Callable[[Trial], str]) -> dict[str, Any]:
        """Does one, and says how it ended."""
        directory = self.folder / "trials" / name.replace("/", "-").replace(" ", "-")
        pair = act is trials.two_processes
        trial = Trial(self.recipe, self._of_two() if pair else self.reference, random.Random(name), directory)
        trial.directory.parent.mkdir(exist_ok=True)
        try:
            found = {"outcome": act(trial)}
            shutil.rmtree(directory, ignore_errors=True)
        except Wrong as wrong:
            found = {"outcome": WRONG, "why": str(wrong)}
        return {**found, "at": trial.at, "said": [line.replace(str(self.folder), "") for line in trial.said]}

    def _of_two(self) -> Reference:
        if self._pair is None:
            command = self.recipe.command(self.folder / "pair", STAGES)
            self._pair = self._undisturbed("pair", command, trials.together)
        return self._pair

    def _undisturbed(
        self, name: str, command: Sequence[str], run: Callable[[list[str]], int] | None = None
    ) -> Reference:
        directory = self.folder / name
        writes, before = Writes(directory), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        ended = self.recipe.start(command, writes, run).wait()
        work = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        if ended.code != 0:
            raise SystemExit(f"the undisturbed run failed: {ended.said}")
        size = sum(path.stat().st_blocks * 512 for path in directory.rglob("*"))
        return Reference(directory, results(directory), work, writes.count, size)


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Tries what the record lacks."""
    record: dict[str, Any] = read_json(options.json) if options.json.exists() else {"trials": {}}
    chaos, began, tried = Chaos(folder, options.stages), time.monotonic(), 0
    record.setdefault("environment", describe_environment())
    record["reference"] = {k: getattr(chaos.reference, k) for k in ("work", "writes", "size")}
    if reason := trials.can_mount(folder / "disk"):
        print(reason, file=sys.stderr)
    record["skipped"] = {"full disk": reason} if reason else {}
    for name, act in chaos.todo({*options.only} - record["skipped"].keys()):
        if name in record["trials"]:
            continue
        if tried == options.trials or time.monotonic() - began > 60 * options.minutes:
            print("the same command does the rest", file=sys.stderr)
            break
        tried += 1
        found = record["trials"][name] = chaos.trial(name, act)
        print(f"{name}: {found['outcome']} ({found['at']}) {found.get('why', '')}", file=sys.stderr, flush=True)
        write_json(options.json, record)
    return record


def table(record: Mapping[str, Any]) -> str:
    """What was tried and how it ended, by disturbance."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for name, trial in sorted(record["trials"].items(), key=lambda item: KINDS.index(item[0].split("/")[0])):
        kind, *rest = name.split("/")
        rows.setdefault(f"{rest[-1]} file, run {rest[0]}" if kind == DAMAGED else kind, []).append(trial)
    lines = [
        "| disturbance | runs | the same | one line, then the same | one line | wrong |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    outcomes = ("same", "one line, then same", "one line", WRONG)
    for kind, tried in [*rows.items(), ("all", list(record["trials"].values()))]:
        counts = [sum(trial["outcome"] == outcome for trial in tried) for outcome in outcomes]
        lines.append(f"| {kind} | {len(tried)} | {' | '.join(map(str, counts))} |")
    lines += [f"| {kind} | skipped: {reason} | | | | |" for kind, reason in record["skipped"].items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="the record, which the same command continues")
    parser.add_argument("--readme", type=Path, help="put the table between the markers of this file")
    parser.add_argument("--marker", default="chaos")
    parser.add_argument(
        "--only", nargs="+", metavar="KIND", choices=KINDS, default=KINDS, help=f"of {', '.join(KINDS)}"
    )
    parser.add_argument("--stages", nargs="+", default=(*STAGES, "evaluate"), help="of the runs")
    parser.add_argument("--trials", type=int, help="no more than these; 0: only the table")
    parser.add_argument("--minutes", type=float, default=60.0, help="no trial begins after them")
    parser.add_argument("--keep", type=Path, help="a new folder for the runs, where those that ended wrong stay")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        record = run(options, options.keep or Path(folder)) if options.trials != 0 else read_json(options.json)
    if options.readme:
        update_readme(options.readme, options.marker, table(record))
    print(table(record))
    return int(any(trial["outcome"] == WRONG for trial in record["trials"].values()))


if __name__ == "__main__":
    sys.exit(main())
