"""Results as tables: read from `eval/*.json` of a run directory, written for a terminal, Markdown or a README."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from selfsame.errors import ConfigError, RunError
from selfsame.report.cells import Cell, Results, Row, cell_of, cells_of
from selfsame.report.sources import UNKNOWN, finite, judge_line, reader_line, reward_line, test_note
from selfsame.run.comparisons import ComparisonRecord, read_comparisons
from selfsame.run.directory import RunDirectory
from selfsame.run.files import write_text
from selfsame.run.records import EvaluationRecord, RewardRecord, SelfplayRecord, read_record
from selfsame.systems import position

_NO_RESULTS = "There are no results yet: run the evaluation first."


def results_table(run_dir: str | Path) -> list[Row]:
    """Systems, then references, from `eval/*.json`; an empty list where nothing was evaluated.

    A reference that is the same for all systems is one row, else there is one for each system.
    Raises RunError where `run_dir` is not a run or a file is damaged.
    """
    return rows_of(read_evaluations(RunDirectory.open(run_dir)))


def rows_of(evaluations: Mapping[str, Results]) -> list[Row]:
    """The rows of `results_table` from evaluations that were read already."""
    return [*_system_rows(evaluations), *_reference_rows(evaluations)]


def talks_of(evaluations: Mapping[str, EvaluationRecord]) -> dict[str, SelfplayRecord]:
    """What the systems said to themselves, of those that were let to."""
    return {name: record.selfplay for name, record in evaluations.items() if record.selfplay}


def selfplay_rows(evaluations: Mapping[str, EvaluationRecord]) -> list[Row]:
    """The rows of that."""
    return rows_of(talks_of(evaluations))


def selfplay_title(rows: Sequence[Row]) -> str:
    """What stands above these rows."""
    counts = ", ".join(f"{row.name} {row.items}" for row in rows if row.items is not None)
    return f"Self-play, the system on both sides of a dialogue; dialogues: {counts}."


def read_evaluations(run: RunDirectory, problems: list[str] | None = None) -> dict[str, EvaluationRecord]:
    """System name -> its evaluation. A damaged file raises RunError, or joins the list `problems` if there is one."""
    found: dict[str, EvaluationRecord] = {}
    for path in sorted((run.path / "eval").glob("*.json")):
        try:
            record = read_record(path, EvaluationRecord)
        except RunError as error:
            if problems is None:
                raise
            problems.append(str(error))
            continue
        found[record.system or path.stem] = record
    return {name: found[name] for name in sorted(found, key=position)}


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


def text_results(evaluations: Mapping[str, EvaluationRecord]) -> str:
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


def interval_level(evaluations: Mapping[str, EvaluationRecord]) -> str:
    """`95%`: the coverage of the intervals, as the evaluations say; several if they differ."""
    levels = {record.confidence for record in evaluations.values()} or {0.95}
    return " or ".join(f"{100 * level:g}%" for level in sorted(levels))


def summary_lines(run_dir: str | Path) -> list[str]:
    """Sentences on what the stages changed, prompt by prompt, and on the reward model: as far as they were measured."""
    run = RunDirectory.open(run_dir)
    lines, reward = comparison_lines(read_comparisons(run.path / "comparisons.json")), run.path / "reward.json"
    if reward.exists():
        lines.append(reward_line(read_record(reward, RewardRecord)))
    # Where the numbers of a damaged evaluation are missing, it says so; here it has nothing to say.
    records = read_evaluations(run, problems=[]).values()
    judges = [judge_line(record.judge) for record in records if record.judge]
    readers = [reader_line(record.reader) for record in records if record.reader]
    return [*lines, *dict.fromkeys([*judges, *readers])]


def comparison_lines(records: Sequence[ComparisonRecord]) -> list[str]:
    """A line for each paired comparison, and what p is in them."""
    note = test_note(records)
    return [*map(comparison_line, records), *([note] if note else [])]


def comparison_line(record: ComparisonRecord) -> str:
    """`ppo - sft, consistency, same prompts: +0.052 [0.010, 0.094], p 0.021, higher.` Other prompts are named in `on`."""
    cell, p = cell_of(record), finite(record.p_corrected)
    shown = UNKNOWN if cell.value is None else f"{'+' if cell.value >= 0 else ''}{cell.show(3)}"
    tested = "" if p is None else ", p < 0.001" if p < 0.001 else f", p {p:.3f}"
    of = f"{record.system} - {record.than}, {record.metric.replace('_', ' ')}"
    return f"{of}, {record.on}: {shown}{tested}, {record.verdict}."


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


def _system_rows(evaluations: Mapping[str, Results]) -> list[Row]:
    return [Row(name, "system", record.items, cells_of(record.metrics)) for name, record in evaluations.items()]


def _reference_rows(evaluations: Mapping[str, Results]) -> list[Row]:
    by_name: dict[str, dict[str, dict[str, Cell]]] = {}
    for system, record in evaluations.items():
        for name, metrics in record.references.items():
            by_name.setdefault(name, {})[system] = cells_of(metrics)
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
