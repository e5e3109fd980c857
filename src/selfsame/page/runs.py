"""Runs on the page: which there are, their curves while they train, what was measured, two systems compared."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from selfsame.comparing.runs import compare
from selfsame.errors import ConfigError, SelfsameError
from selfsame.labels.label import Label
from selfsame.page.markup import markup
from selfsame.report.comparison import difference_lines, other_lines, verdict_clauses
from selfsame.report.grids import definitions_in, difference_table
from selfsame.report.page import results_of, safe_plots
from selfsame.report.plots import training_plots
from selfsame.report.tables import interval_level, read_evaluations
from selfsame.report.verdict import verdict_of
from selfsame.run.comparisons import read_comparisons
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_jsonl
from selfsame.systems import TRAINED

_DEPTH = 2
"""Folders below that of the runs in which one may lie: `runs/mine`, `runs/seeds/1`."""
_MOST = 500
_DRAWING = threading.Lock()
"""matplotlib's style is one for the process."""

Stamp = tuple[tuple[str, int, int], ...]
"""What tells whether a run has changed."""


class Runs:
    """The runs of a folder, and others by their paths.

    Args:
        folder: where they lie; it may come later.
        more: runs that lie elsewhere.
    """

    def __init__(self, folder: Path, more: Sequence[Path] = ()) -> None:
        self.folder, self.more = folder, tuple(more)

    def found(self) -> dict[str, Path]:
        """Name -> run, the newest first."""
        runs = [path.parent for depth in range(1, _DEPTH + 1)
                for path in self.folder.glob("*/" * depth + "config.yaml")]  # fmt: skip
        runs.sort(key=_time, reverse=True)
        named = {path.relative_to(self.folder).as_posix(): path for path in runs[:_MOST]}
        known = {path.resolve() for path in named.values()}
        return named | {path.resolve().name: path for path in self.more
                        if path.resolve() not in known and path.resolve().name not in named}  # fmt: skip

    def path(self, name: str | None) -> Path:
        """The run of a name from `found`; any other name, such as a path, is refused.

        Raises:
            ConfigError: there is none.
        """
        if name not in (found := self.found()):
            raise ConfigError("there is no such run any more: choose another")
        return found[name]

    def systems(self) -> list[str]:
        """What was evaluated, as `RUN:SYSTEM`."""
        return [f"{name}:{file.stem}" for name, path in self.found().items()
                for file in sorted((path / "eval").glob("*.json"))]  # fmt: skip

    def stamp(self, name: str) -> Stamp:
        """What changes when the run does.

        Raises:
            ConfigError: there is no such run.
        """
        run = RunDirectory(self.path(name))
        files = [run.metrics_path, run.report_path, *sorted((run.path / "eval").glob("*.json"))]
        return tuple((file.name, found.st_mtime_ns, found.st_size) for file in files if (found := _stat(file)))

    def curves(self, name: str) -> str:
        """The learning curves, as HTML.

        Raises:
            SelfsameError: there is no such run.
        """
        records, damaged = read_jsonl(RunDirectory(self.path(name)).metrics_path)
        last: dict[str, int] = {}
        for record in records:
            if isinstance(step := record.get("step"), int):
                last[str(record.get("stage", ""))] = step
        with _DRAWING:
            plots = training_plots(records)
            by_stage = {stage: safe_plots([plot for plot in plots if plot.stage == stage and plot.main])
                        for stage in sorted(last, key=_order)}  # fmt: skip
        return markup("curves.html.j2", stages=by_stage, last=last, damaged=damaged)

    def results(self, name: str) -> str:
        """What was measured, as HTML.

        Raises:
            SelfsameError: there is no such run.
        """
        run, problems = RunDirectory(self.path(name)), []
        evaluations = read_evaluations(run, problems)
        try:
            compared = read_comparisons(run.path / "comparisons.json")
        except SelfsameError as error:
            compared, problems = [], [*problems, str(error)]
        shown = results_of(evaluations)
        return markup(
            "results.html.j2",
            table=shown.tables[0],
            few=shown.few,
            verdict=verdict_of(evaluations, compared) if evaluations else [],
            level=interval_level(evaluations) if evaluations else "",
            definitions=definitions_in([shown.tables[0]]),
            problems=problems,
            report=name if run.report_path.exists() else "",
        )

    def report(self, name: str) -> str | None:
        """The page of a run's report, None where there is none."""
        path = self.found().get(name)
        report = RunDirectory(path).report_path if path else None
        return report.read_text(encoding="utf-8") if report and report.is_file() else None

    def compared(self, systems: Sequence[str | None], labels: Sequence[Label] = ()) -> str:
        """Two systems held against each other, as HTML. Labels count where some are about these two.

        Raises:
            SelfsameError: they cannot be compared.
        """
        chosen = [name for name in systems if name]
        if len(chosen) != 2 or chosen[0] == chosen[1]:
            raise ConfigError("choose two systems that were evaluated")
        named = [(*name.rpartition(":")[::2],) for name in chosen]
        given = [f"{self.path(run)}:{system}" for run, system in named]
        try:
            found = compare(given, labels=labels)
        except SelfsameError:
            if not labels:
                raise
            found = compare(given)  # no label is about these two
        shown = results_of(found.evaluations)
        differences = difference_table(found.comparisons, set(shown.kept))
        return markup(
            "compared.html.j2",
            verdict=verdict_clauses(found)[1],
            differences=differences,
            lines=difference_lines(found),
            others=other_lines(found, percent=True),
            table=shown.tables[0],
            few=shown.few,
        )


def _order(stage: str) -> int:
    return TRAINED.index(stage) if stage in TRAINED else len(TRAINED)


def _time(run: Path) -> float:
    found = _stat(run / "metrics.jsonl") or _stat(run)
    return found.st_mtime if found else 0.0


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
