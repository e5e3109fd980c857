"""Tables of the pages: a metric a line, a system or reference a column, with what each name means."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from selfsame.report.cells import Cell, Results, Row, cell_of
from selfsame.report.formats import difference, shown
from selfsame.report.metrics import OTHERS, SECTIONS, Metric, metric_of, reference_of
from selfsame.report.sources import finite
from selfsame.report.tables import decimals_of, metric_names
from selfsame.run.comparisons import ComparisonRecord
from selfsame.run.records import EvaluationRecord

FEWEST = 10
"""Dialogues; a table from fewer would look surer than it is."""
_ORDER = [*SECTIONS, OTHERS]
_PEOPLE = ("gold", "other reply")
"""References that people wrote; they were scored as the systems were."""
Written = tuple[str, str, str]
"""Value, interval and note, as a page shows them."""
Kept = TypeVar("Kept", bound=Results)


@dataclass(frozen=True)
class Line:
    """A metric, and what each column shows of it."""

    metric: Metric
    cells: Sequence[Written]


@dataclass(frozen=True)
class Group:
    """Lines under one heading."""

    title: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Table:
    """A system, a reference or a pair of systems a column; a metric a line."""

    columns: Sequence[Metric]
    groups: Sequence[Group]


@dataclass(frozen=True)
class Section:
    """Definitions under the heading that they have in docs/metrics.md. `where`: its address."""

    title: str
    where: str
    metrics: Sequence[Metric]


def dialogues_behind(evaluation: Results, runs: int = 1) -> int | None:
    """Count the dialogues that an evaluation rests on, or its items where its replies were not kept.

    `runs`: how many runs of one recipe it pools, each with the same items.
    """
    replies = [*evaluation.replies, *evaluation.talk] if isinstance(evaluation, EvaluationRecord) else []
    if replies:
        return len({reply.dialogue for reply in replies})
    return None if evaluation.items is None else evaluation.items // max(1, runs)


def enough(evaluations: Mapping[str, Kept], runs: Mapping[str, int] | None = None) -> tuple[dict[str, Kept], list[str]]:
    """Split evaluations into those that fill a table and a line for each that rests on too few dialogues."""
    kept, lines = {}, []
    for name, record in evaluations.items():
        count = dialogues_behind(record, (runs or {}).get(name, 1))
        if count is None or count >= FEWEST:
            kept[name] = record
        else:
            lines.append(f"{name}: {count} dialogues are too few for a table, which needs {FEWEST}.")
    return kept, lines


def result_tables(rows: Sequence[Row], selfplay: bool = False) -> tuple[Table | None, Table | None]:
    """Set out the systems with what people said, and apart from them the references of the persona."""
    main = [row for row in rows if row.kind == "system" or row.name.startswith(_PEOPLE)]
    others = [row for row in rows if row not in main]
    systems = any(row.kind == "system" for row in rows)
    return (_table(main, rows, selfplay) if systems else None), (_table(others, rows, selfplay) if others else None)


def difference_table(records: Iterable[ComparisonRecord], systems: Collection[str]) -> Table | None:
    """Set out paired differences of these systems: a metric a line, a pair of systems a column."""
    pairs: dict[str, dict[str, Written]] = {}
    names: dict[str, None] = {}
    for record in records:
        if record.system not in systems or record.than not in systems:
            continue
        name, on = record.metric, record.on.partition(", any two seeds")[0]
        pair = f"{record.system} less {record.than}"
        pair += f" ({on})" if on not in ("", "same prompts") else ""
        pairs.setdefault(pair, {})[name] = (*difference(cell_of(record), metric_of(name)), _note(record))
        names[name] = None
    if not names:
        return None
    metrics = {name: metric_of(name) for name in names}
    lines = {name: [found.get(name, ("", "", "")) for found in pairs.values()] for name in names}
    return Table([Metric(pair) for pair in pairs], _grouped(metrics, lines))


def definitions_in(tables: Iterable[Table | None], more: Iterable[Metric] = ()) -> list[Section]:
    """Gather each metric that is defined and shown, once, under the headings of docs/metrics.md."""
    found = {}
    for table in tables:
        if table is not None:
            shown_here = [*table.columns, *(line.metric for group in table.groups for line in group.lines)]
            found |= {metric.id: metric for metric in shown_here if metric.definition}
    found |= {metric.id: metric for metric in more if metric.definition}
    sections = {section: [m for m in found.values() if m.section == section] for section in SECTIONS}
    return [Section(SECTIONS[name], metrics[0].where, metrics) for name, metrics in sections.items() if metrics]


def _note(record: ComparisonRecord) -> str:
    """`higher, p 0.021`; between groups also the lowest and the highest difference of two of their seeds."""
    p = finite(record.p_corrected)
    tested = "" if p is None else ", p < 0.001" if p < 0.001 else f", p {p:.3f}"
    span = [end for end in (record.lowest, record.highest) if end is not None]
    ends = [difference(Cell(end), metric_of(record.metric))[0] for end in span]
    return f"{record.verdict}{tested}" + (f"; two seeds: {ends[0]} to {ends[1]}" if ends else "")


def _table(columns: Sequence[Row], rows: Sequence[Row], selfplay: bool) -> Table:
    names = [name for name in metric_names(columns) if any(name in row.cells for row in columns)]
    metrics = {name: metric_of(name, selfplay) for name in names}
    lines = {
        name: [
            (*shown(row.cells.get(name, Cell(None)), metrics[name], decimals_of(rows, name)), "") if name in row.cells
            else ("", "", "") for row in columns
        ]
        for name in names
    }  # fmt: skip
    heads = [Metric(row.name) if row.kind == "system" else reference_of(row.name) for row in columns]
    return Table(heads, _grouped(metrics, lines))


def _grouped(metrics: Mapping[str, Metric], lines: Mapping[str, Sequence[Written]]) -> list[Group]:
    """Lines under the headings of docs/metrics.md; what is not defined there comes last."""
    groups: dict[str, list[Line]] = {section: [] for section in _ORDER}
    for name, metric in metrics.items():
        groups[metric.section].append(Line(metric, lines[name]))
    return [Group(SECTIONS.get(s, s), found) for s, found in groups.items() if found]
