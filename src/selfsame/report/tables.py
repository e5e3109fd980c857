"""Results as tables: read from `eval/*.json` of a run directory, written for a terminal, Markdown or a README."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from selfsame.errors import ConfigError, RunError
from selfsame.report.sources import UNKNOWN, finite, judge_line, reader_line, reward_line
from selfsame.run.directory import RunDirectory, read_json, write_text

SYSTEMS = ("base", "sft", "sft_best_of_n", "ppo", "ppo_best_of_n", "dpo")
"""The order in which systems are listed; others follow by name."""
_NO_RESULTS = "There are no results yet: run the evaluation first."


@dataclass(frozen=True, slots=True)
class Cell:
    """A measured value with its 95% confidence interval; None is unknown. `count` items were scored, `missing` not. With
    `seeds`: the mean of so many runs, with the lowest and the highest of them in place of an interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    missing: int = 0
    seeds: int | None = None

    def show(self, decimals: int) -> str:
        """`61.2 [57.0, 65.4]`, without brackets where there is no interval; of seeds `61.2 (57.0 to 65.4)`."""
        text = self.show_value(decimals)
        if self.value is None or self.low is None or self.high is None:
            return text
        if self.seeds:
            return f"{text} ({self.low:.{decimals}f} to {self.high:.{decimals}f})"
        return f"{text} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"

    def show_value(self, decimals: int) -> str:
        """The value alone."""
        return UNKNOWN if self.value is None else f"{self.value:.{decimals}f}"


@dataclass(frozen=True, slots=True)
class Row:
    """All metrics of one system, or of a reference that shows what a metric gives to known replies (`gold`)."""

    name: str
    kind: Literal["system", "reference"]
    items: int | None = None
    cells: dict[str, Cell] = field(default_factory=dict)


def results_table(run_dir: str | Path) -> list[Row]:
    """Systems, then references, from `eval/*.json`; an empty list where nothing was evaluated.

    A reference that is the same for all systems is one row, else there is one for each system.
    Raises RunError where `run_dir` is not a run or a file is damaged.
    """
    return rows_of(read_evaluations(RunDirectory.open(run_dir)))


def rows_of(evaluations: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The rows of `results_table` from evaluations that were read already."""
    return [*_system_rows(evaluations), *_reference_rows(evaluations)]


def selfplay_rows(evaluations: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The same for what the systems said to themselves, of those that were let to."""
    return rows_of({name: content["selfplay"] for name, content in evaluations.items() if content.get("selfplay")})


def selfplay_title(rows: Sequence[Row]) -> str:
    """What stands above these rows."""
    counts = ", ".join(f"{row.name} {row.items}" for row in rows if row.items is not None)
    return f"Self-play, the system on both sides of a dialogue; dialogues: {counts}."


def read_evaluations(run: RunDirectory, problems: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """System name -> its evaluation. A damaged file raises RunError, or joins the list `problems` if there is one."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((run.path / "eval").glob("*.json")):
        try:
            content = read_json(path)
            if not isinstance(content, dict) or not isinstance(content.get("metrics"), dict):
                raise RunError(f"{path} is damaged (no metrics in it): delete it and evaluate again")
        except RunError as error:
            if problems is None:
                raise
            problems.append(str(error))
            continue
        found[str(content.get("system", path.stem))] = content
    return {name: found[name] for name in sorted(found, key=_system_order)}


def metric_names(rows: Iterable[Row]) -> list[str]:
    """Every metric of `rows`, in the order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.cells))


def decimals_of(rows: Iterable[Row], metric: str) -> int:
    """Decimals for a metric: none for values from 1000, one from 10, two from 1, else three, so that they line up."""
    values = [abs(row.cells[metric].value or 0.0) for row in rows if metric in row.cells]
    largest = max(values, default=0.0)
    return 0 if largest >= 1000 else 1 if largest >= 10 else 2 if largest >= 1 else 3


def text_table(rows: Sequence[Row], width: int = 110) -> str:
    """For a terminal of `width` characters: the metrics that most references have too, then the rest, a metric a line."""
    if not rows:
        return _NO_RESULTS
    return "\n\n".join(text_grid(grid, width) for grid in result_grids(rows, "({})"))


def text_results(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """All tables of some evaluations for a terminal."""
    talking = selfplay_rows(evaluations)
    more = [selfplay_title(talking), text_table(talking)] if talking else []
    return "\n\n".join([text_table(rows_of(evaluations)), *more])


def run_results(run_dir: str | Path) -> str:
    """All tables of a run for a terminal, and its `summary_lines`."""
    evaluations = read_evaluations(RunDirectory.open(run_dir))
    return "\n\n".join(part for part in (text_results(evaluations), "\n".join(summary_lines(run_dir))) if part)


def markdown_table(rows: Sequence[Row]) -> str:
    """The same as Markdown tables; names are escaped, so a metric name cannot break one."""
    if not rows:
        return _NO_RESULTS
    return "\n\n".join(map(markdown_grid, result_grids(rows, "*{}*")))


def markdown_results(run_dir: str | Path) -> str:
    """The results of a run for a README: the tables, and below them how many items they rest on."""
    evaluations = read_evaluations(RunDirectory.open(run_dir))
    rows, talking = rows_of(evaluations), selfplay_rows(evaluations)
    items = {row.name: row.items for row in rows if row.items is not None}
    if not items:
        return markdown_table(rows)
    counts = ", ".join(f"{name} {count}" for name, count in items.items())
    level = interval_level(evaluations)
    notes = (
        f"In brackets: {level} confidence interval. Prompts behind the first table: {counts}. In *italics*: references."
    )
    listed = "\n".join(f"- {line}" for line in summary_lines(run_dir))
    more = [selfplay_title(talking), markdown_table(talking)] if talking else []
    return "\n\n".join(part for part in (markdown_table(rows), *more, listed, notes) if part)


def interval_level(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """`95%`: the coverage of the intervals, as the evaluations say; several if they differ."""
    settings = [content.get("settings") or {} for content in evaluations.values()]
    levels = {float((s.get("evaluation") or {}).get("confidence", 0.95)) for s in settings} or {0.95}
    return " or ".join(f"{100 * level:g}%" for level in sorted(levels))


def summary_lines(run_dir: str | Path) -> list[str]:
    """Sentences on what the stages changed, prompt by prompt, and on the reward model: as far as they were measured."""
    folder = RunDirectory.open(run_dir).path
    lines = []
    if (folder / "comparisons.json").exists():
        lines += comparison_lines(read_json(folder / "comparisons.json"))
    if (folder / "reward.json").exists():
        lines.append(reward_line(read_json(folder / "reward.json")))
    evaluations = read_evaluations(
        RunDirectory(folder), problems=[]
    )  # a damaged one is told where its numbers are missing
    judges = [content["judge"] for content in evaluations.values() if "judge" in content]
    readers = [content["reader"] for content in evaluations.values() if "reader" in content]
    return [*lines, *dict.fromkeys([*map(judge_line, judges), *map(reader_line, readers)])]


def comparison_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each paired comparison, and what p is in them."""
    tested = sum(finite(record.get("p_corrected")) is not None for record in records)
    note = (
        f"p: McNemar's exact test, corrected for all {tested} tests here (Holm). Yes/no scores are higher or lower only"
        " where the interval excludes 0 and p is small too; intervals are not corrected."
    )
    return [*map(comparison_line, records), *([note] if tested else [])]


def comparison_line(record: Mapping[str, Any]) -> str:
    """`ppo - sft, consistency, same prompts: +0.052 [0.010, 0.094], p 0.021, higher.` Other prompts are told in `on`."""
    cell, p = cell_of(record), finite(record.get("p_corrected"))
    shown = UNKNOWN if cell.value is None else f"{'+' if cell.value >= 0 else ''}{cell.show(3)}"
    tested = "" if p is None else ", p < 0.001" if p < 0.001 else f", p {p:.3f}"
    of = f"{record['system']} - {record['than']}, {record['metric'].replace('_', ' ')}"
    return f"{of}, {record.get('on', 'same prompts')}: {shown}{tested}, {record['verdict']}."


def update_readme(readme_path: str | Path, marker: str, text: str) -> bool:
    """Replace what stands between `<!-- results:MARKER -->` and `<!-- /results:MARKER -->`.

    Returns whether that changed the file. Raises ConfigError where the file or one of the markers is not there.
    """
    path = Path(readme_path)
    begin, end = f"<!-- results:{marker} -->", f"<!-- /results:{marker} -->"
    try:
        old = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): give a Markdown file") from error
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise ConfigError(f"{path}: needs one line {begin} and after it one line {end}, around the text to replace")
    between = re.escape(begin) + r".*?" + re.escape(end)
    new = re.sub(between, lambda _: f"{begin}\n{text.strip()}\n{end}", old, flags=re.DOTALL)
    if new != old:
        write_text(path, new)
    return new != old


def cell_of(content: Any) -> Cell:
    """A metric as the evaluation stored it: a mapping with an interval, or a bare number. NaN is unknown."""
    if not isinstance(content, Mapping):
        return Cell(finite(content))
    count, missing = finite(content.get("count")), finite(content.get("missing"))
    return Cell(
        finite(content.get("value")),
        finite(content.get("low")),
        finite(content.get("high")),
        None if count is None else int(count),
        int(missing or 0),
        content.get("seeds"),
    )


def _system_order(name: str) -> tuple[int, str]:
    return (SYSTEMS.index(name) if name in SYSTEMS else len(SYSTEMS), name)


def _cells(metrics: Mapping[str, Any]) -> dict[str, Cell]:
    return {str(name): cell_of(content) for name, content in metrics.items()}


def _system_rows(evaluations: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    return [
        Row(name, "system", content.get("items"), _cells(content["metrics"])) for name, content in evaluations.items()
    ]


def _reference_rows(evaluations: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    by_name: dict[str, dict[str, dict[str, Cell]]] = {}
    for system, content in evaluations.items():
        for name, metrics in (content.get("references") or {}).items():
            if isinstance(metrics, Mapping):
                by_name.setdefault(str(name), {})[system] = _cells(metrics)
    rows = []
    for name, by_system in by_name.items():
        first = next(iter(by_system.values()))
        if all(cells == first for cells in by_system.values()):
            rows.append(Row(name.replace("_", " "), "reference", cells=first))
        else:
            rows += [Row(f"{name.replace('_', ' ')} ({system})", "reference", cells=cells)
                     for system, cells in by_system.items()]  # fmt: skip
    return rows


def result_grids(rows: Sequence[Row], reference: str = "({})") -> list[list[list[str]]]:
    """Header and lines of each table: first the metrics that most references were measured on, a row a line; then the
    others, a metric a line.

    reference: the pattern that sets the names of references apart.
    """
    systems, references = ([row for row in rows if row.kind == kind] for kind in ("system", "reference"))
    names = metric_names(rows)
    shared = [n for n in names if references and 2 * sum(n in r.cells for r in references) >= len(references)]
    others = [n for n in names if n not in shared]
    decimals = {name: decimals_of(rows, name) for name in names}

    def label(row: Row) -> str:
        return row.name if row.kind == "system" else reference.format(row.name)

    def show(row: Row, name: str) -> str:
        return row.cells.get(name, Cell(None)).show(decimals[name])

    down = [*systems, *(r for r in references if any(n in r.cells for n in shared))]
    across = [*systems, *(r for r in references if any(n in r.cells for n in others))]
    first = [[label(row), *(show(row, name) for name in shared)] for row in down]
    second = [[name.replace("_", " "), *(show(row, name) for row in across)] for name in others]
    grids = [[["system", *(name.replace("_", " ") for name in shared)], *first]] if shared else []
    return [*grids, [["metric", *map(label, across)], *second]] if others else grids


def text_grid(grid: list[list[str]], width: int) -> str:
    """In as many blocks as the columns need."""
    widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
    blocks = []
    for columns in _blocks(widths, width):
        lines = [[line[column].ljust(widths[column]) for column in columns] for line in grid]
        lines.insert(1, ["-" * widths[column] for column in columns])
        blocks.append("\n".join("  ".join(line).rstrip() for line in lines))
    return "\n\n".join(blocks)


def markdown_grid(grid: list[list[str]]) -> str:
    header, *body = [[cell.replace("\\", "\\\\").replace("|", "\\|") for cell in line] for line in grid]
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *body))


def _blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """Column numbers of each block: the first column in all of them, the others as they fit."""
    blocks, used = [[0]], widths[0]
    for column in range(1, len(widths)):
        if used + 2 + widths[column] > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(column)
        used += 2 + widths[column]
    return blocks
