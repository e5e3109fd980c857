"""What `selfsame compare` found, as text, Markdown and one page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfsame.report.cells import Cell, cell_of
from selfsame.report.dialogues import dialogue, own_talk
from selfsame.report.formats import duration, number, size
from selfsame.report.grids import FEWEST, definitions_in, difference_table
from selfsame.report.page import missing_values, render, results_of, safe_plots
from selfsame.report.plots import Plot, difference_plot
from selfsame.report.sources import correction_of, judge_line, reward_line, test_note
from selfsame.report.tables import (
    comparison_line,
    decimals_of,
    interval_level,
    markdown_grid,
    markdown_table,
    rows_of,
    selfplay_rows,
    selfplay_title,
    text_grid,
    text_results,
)
from selfsame.report.top import character_tiles
from selfsame.report.verdict import HEADLINES, compared_clause
from selfsame.run.compared import Compared, Preferred, Wins
from selfsame.run.files import write_text

_WIDTH = 110
_COST = "Time of the stages that each system needs, and peak memory of its whole run."


def text_comparison(comparison: Compared, metrics: Sequence[str] = ()) -> str:
    """For a terminal: everything, or the `brief_grid` of some metrics."""
    if metrics:
        grid = text_grid(brief_grid(comparison, metrics, "({})"), _WIDTH)
        return "\n\n".join(
            [grid, f"{brackets(comparison)} {_brief_note(comparison)}", "\n".join(_brief_lines(comparison))]
        )
    lines = [*difference_lines(comparison), *other_lines(comparison)]
    cost = text_grid(cost_grid(comparison), _WIDTH)
    return "\n\n".join([text_results(comparison.evaluations), _COST, cost, "\n".join(lines)])


def markdown_comparison(comparison: Compared, metrics: Sequence[str] = ()) -> str:
    """For a README: everything, or the `brief_grid` of some metrics."""
    if metrics:
        lines = "\n".join(f"- {line}" for line in _brief_lines(comparison))
        grid = markdown_grid(brief_grid(comparison, metrics, "*{}*"))
        return "\n\n".join([grid, f"{brackets(comparison)} {_brief_note(comparison)} In *italics*: reference.", lines])
    evaluations = comparison.evaluations
    talking = selfplay_rows(evaluations)
    more = [selfplay_title(talking), markdown_table(talking)] if talking else []
    lines = "\n".join(f"- {line}" for line in [*difference_lines(comparison), *other_lines(comparison)])
    tables = [markdown_table(rows_of(evaluations)), *more, _COST, markdown_grid(cost_grid(comparison))]
    return "\n\n".join([*tables, lines, f"{brackets(comparison)} In *italics*: references."])


def brief_grid(comparison: Compared, metrics: Sequence[str], reference: str) -> list[list[str]]:
    """Header, and a line for each system: these metrics, with the verdict where they were tested against the first system's,
    and the time of its stages; last the gold replies, their name in the pattern `reference`."""
    rows = [row for row in rows_of(comparison.evaluations) if row.kind == "system" or row.name.startswith("gold")]
    verdicts = {(r.system, r.metric): f", {r.verdict}" for r in comparison.comparisons}
    grid = [["system", *(name.replace("_", " ") for name in metrics), "training time"]]
    for row in rows:
        shown = [
            row.cells.get(name, Cell(None)).show(decimals_of(rows, name)) + verdicts.get((row.name, name), "")
            for name in metrics
        ]
        if row.kind == "system":
            grid.append([row.name, *shown, duration(comparison.systems[row.name].cost.total_seconds)])
        else:
            grid.append([reference.format(row.name), *shown, ""])
    return grid


def _brief_lines(comparison: Compared) -> list[str]:
    """What has to be known with a short table, too: what judges prefer, what is not the same, who says what contradicts."""
    judges = [record.judge for record in comparison.evaluations.values() if record.judge]
    preferred = map(_preferred_line, comparison.preferred)
    return [*preferred, *comparison.notes, *dict.fromkeys(map(judge_line, judges))]


def write_comparison(path: Path, comparison: Compared) -> None:
    """Write the page to `path`. Raises RunError where it cannot be written."""
    evaluations, systems = comparison.evaluations, comparison.systems
    results = results_of(evaluations, {name: len(system.runs) for name, system in systems.items()})
    few = [pair for pair in comparison.paired if 0 < pair.prompts < FEWEST]
    paired = set(results.kept) - {pair.system for pair in few}
    differences = difference_table(comparison.comparisons, paired)
    metric, clauses = verdict_clauses(comparison)
    metric, tiles = character_tiles(results.rows, [*evaluations], metric, {})
    content = {
        "name": ", ".join(evaluations),
        "systems": systems,
        "verdict": clauses,
        "metric": metric,
        "tiles": tiles,
        "times": _time_tiles(comparison),
        **vars(results),
        "brackets": brackets(comparison),
        "difference_plots": safe_plots(_plots(comparison)),
        "differences": differences,
        "definitions": definitions_in([*results.tables, *results.selfplay_tables, differences], [metric]),
        "few_pairs": [f"{p.system} and {p.than}: {p.prompts} shared prompts are too few for a table." for p in few],
        "preferences": [*_preferences(comparison), *_test_note(comparison)],
        "others": other_lines(comparison, percent=True),
        "cost_title": _COST,
        "cost": cost_grid(comparison),
        "dialogues": [dialogue(found) for found in comparison.dialogues],
        "talks": [own_talk(name, sample) for name, samples in comparison.selfplay.items() for sample in samples],
        "settings": _settings_grid(comparison),
        "missing": [
            *missing_values(rows_of(evaluations)),
            *missing_values(selfplay_rows(evaluations), "self-play "),
        ],
    }
    write_text(path, render("comparison.html.j2", content))


def verdict_clauses(comparison: Compared) -> tuple[str, list[str]]:
    """Say of each system whether it beats the first one on the prompts that both answered.

    Returns:
        the metric of the verdict, which is the first headline that was compared, and one or two sentences.
    """
    names = list(comparison.systems)
    rows = {row.name: row for row in rows_of(comparison.evaluations) if row.kind == "system"}
    records = {(r.system, r.metric): r for r in comparison.comparisons}
    for metric, word in HEADLINES.items():
        found = [records[name, metric] for name in names if (name, metric) in records]
        clauses = [compared_clause(record, rows, word) for record in found]
        if clauses:
            return metric, [f"On the prompts that both answered, {'; '.join(clauses)}.", *_time_line(comparison)]
    return next(iter(HEADLINES)), [f"Nothing could be compared with {names[0]} in pairs.", *_time_line(comparison)]


def _times(comparison: Compared) -> dict[str, float]:
    """Seconds that training each system took, of those that were trained and whose time is known."""
    times = {name: system.cost.total_seconds for name, system in comparison.systems.items()}
    return {name: seconds for name, seconds in times.items() if seconds}


def _time_line(comparison: Compared) -> list[str]:
    times = [f"{duration(seconds)} for {name}" for name, seconds in _times(comparison).items()]
    return [f"Training took {', '.join(times)}."] if times else []


def _time_tiles(comparison: Compared) -> list[dict[str, str]]:
    times = _times(comparison).items()
    return [{"label": f"training time of {name}", "value": duration(seconds)} for name, seconds in times]


def difference_lines(comparison: Compared) -> list[str]:
    """Paired differences with their verdicts, and who wins how many prompts; below, how it was tested."""
    lines = map(comparison_line, comparison.comparisons)
    return [*lines, *_preferences(comparison), *_test_note(comparison)]


def _preferences(comparison: Compared) -> list[str]:
    return [*map(_preference_line, comparison.preference), *map(_preferred_line, comparison.preferred)]


def _test_note(comparison: Compared) -> list[str]:
    records = comparison.comparisons
    seeds = any(record.runs for record in records)
    test = "McNemar's exact test; with groups Student's, over seeds and dialogues" if seeds else "McNemar's exact test"
    note = test_note(records, test)
    return [note] if note else []


def _brief_note(comparison: Compared) -> str:
    correction = correction_of(comparison.comparisons)
    p = f", p {correction}, those not shown too" if correction.startswith("corrected") else ""
    return (
        f"Higher, lower, tie: than the first system on the prompts that both answered{p}; unknown: could not be compared; no"
        " word: not tested. Training time: of the stages that the system needs."
    )


def other_lines(comparison: Compared, percent: bool = False) -> list[str]:
    """What is not the same, reward models, judges; `percent`: as the pages write shares."""
    judges = [record.judge for record in comparison.evaluations.values() if record.judge]
    rewards = [f"{name}: {reward_line(record, percent)}" for name, record in comparison.reward.items()]
    return [*comparison.notes, *rewards, *dict.fromkeys(judge_line(judge, percent) for judge in judges)]


def brackets(comparison: Compared) -> str:
    """What stands in brackets, and on how many prompts the first table rests."""
    evaluations = comparison.evaluations
    counts = ", ".join(f"{name} {record.items}" for name, record in evaluations.items())
    seeds = any(len(system.runs) > 1 for system in comparison.systems.values())
    more = " of a group the lowest and the highest seed in place of it;" if seeds else ""
    return f"In brackets: {interval_level(evaluations)} confidence interval;{more} prompts behind the first table: {counts}."


def cost_grid(comparison: Compared) -> list[list[str]]:
    """Header, and a line for each system: seconds by stage, bytes."""
    costs = {name: system.cost for name, system in comparison.systems.items()}
    stages = list(dict.fromkeys(stage for cost in costs.values() for stage in cost.seconds))
    gpu = any(cost.peak_gpu_memory_bytes for cost in costs.values())
    grid = [["system", *stages, "all of them", "peak memory", *(["peak memory of a GPU"] if gpu else [])]]
    for name, cost in costs.items():
        times = [duration(cost.seconds[stage]) if stage in cost.seconds else "" for stage in stages]
        memory = [size(cost.peak_memory_bytes), *([size(cost.peak_gpu_memory_bytes)] if gpu else [])]
        grid.append([name, *times, duration(cost.total_seconds), *memory])
    return grid


def _preference_line(record: Wins) -> str:
    missing = f", {record.missing} missing" if record.missing else ""
    counts = f"wins {record.wins}, ties {record.ties}, losses {record.losses}{missing}"
    return f"{record.system} against {record.than}, consistency prompt by prompt: {counts}."


def _preferred_line(record: Preferred) -> str:
    counts = f"wins {record.wins}, ties {record.ties}, losses {record.losses}"
    order = "" if record.swayed is None else f"; the order decided {record.swayed:.0%} of the pairs"
    p = "" if record.p is None else f", uncorrected p {record.p:.2g}"
    share = cell_of(record).show(3)
    return f"{record.system} against {record.than}, preferred by {record.judge}: {share}{p} ({counts}{order})."


def _plots(comparison: Compared) -> list[Plot]:
    plots = []
    for pair in comparison.paired:
        cells = {r.metric: cell_of(r) for r in comparison.comparisons if r.system == pair.system}
        if any(cell.value is not None for cell in cells.values()):
            plots.append(difference_plot(f"{pair.system} less {pair.than}", cells))
    return plots


def _settings_grid(comparison: Compared) -> list[list[str]]:
    found = comparison.settings
    names = list(next(iter(found.values()), ()))
    return [["setting", *names], *([key, *(number(values.get(n)) for n in names)] for key, values in found.items())]
