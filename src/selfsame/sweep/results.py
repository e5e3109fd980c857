"""The table of a sweep: its recipes compared with the best of them, and the best one on people that chose nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsame.comparing.runs import compare
from selfsame.errors import ConfigError
from selfsame.report.cells import Cell
from selfsame.report.comparison import markdown_comparison, text_comparison
from selfsame.report.metrics import OTHERS, metric_of
from selfsame.report.tables import comparison_line, decimals_of, markdown_grid, rows_of, text_grid
from selfsame.report.verdict import HEADLINES
from selfsame.run.compared import Compared
from selfsame.run.named_runs import System, read_recipes
from selfsame.run.records import EvaluationRecord, Metrics
from selfsame.sweep.grid import Variant

LOWER_IS_BETTER = ("contradiction", "copying_unprompted", "perplexity", "perplexity_word", "bits_per_byte")
_NEITHER = ("copying", "keywords", "grounding_anywhere", "reply_words")
_SHOWN = (*HEADLINES, "contradiction", "copying_unprompted", "perplexity")
_WIDTH = 110


def check_metric(name: str | None, own: bool) -> None:
    """Refuse, before anything is trained, a metric that can choose nothing.

    Args:
        name: None stands for the headline.
        own: whether the user's functions measure too; their names are not known yet.

    Raises:
        ConfigError: there is no such metric, or neither more nor less of it is better.
    """
    if name in _NEITHER:
        raise ConfigError(f"--by {name}: neither more nor less of it is better; take in_character or another score")
    if name is not None and metric_of(name).section == OTHERS and not own:
        raise ConfigError(
            f"--by {name}: nothing is called so; take in_character, consistency, perplexity or another score"
        )


def recipes_of(variants: Sequence[Variant], finished: Sequence[str]) -> dict[str, list[Variant]]:
    """Runs that differ in their seed alone, under the settings that they share; without those that lack a run.

    Where only the seed differs, each run stands for itself.
    """
    recipes: dict[str, list[Variant]] = {}
    for variant in variants:
        recipes.setdefault(variant.recipe() or variant.name, []).append(variant)
    return {name: own for name, own in recipes.items() if all(variant.name in finished for variant in own)}


def rank(folder: Path, recipes: Mapping[str, Sequence[Variant]], by: str | None) -> tuple[str, list[str]]:
    """Order recipes by the mean of a metric, the best first.

    Returns:
        the metric (the first headline that was measured, if `by` is None), and the names.

    Raises:
        SelfsameError: what cannot be read, a metric that was not measured.
    """
    read = read_recipes([str(folder / variant.name) for own in recipes.values() for variant in own], ())
    systems = iter([system for members in read.values() for system in members])
    measured = {name: _means([next(systems) for _ in own]) for name, own in recipes.items()}
    known = [name for name in next(iter(measured.values())) if all(name in means for means in measured.values())]
    metric = by or next((name for name in HEADLINES if name in known), None)
    if metric is None or metric not in known:
        raise ConfigError(f"--by {metric}: not measured for every run; measured were {', '.join(known)}")
    sign = 1 if metric in LOWER_IS_BETTER else -1
    return metric, sorted(measured, key=lambda name: sign * measured[name][metric])


def _means(systems: Sequence[System]) -> dict[str, float]:
    """The means over runs of what was measured in all of them."""
    values: dict[str, list[float]] = {}
    for system in systems:
        for name, found in system.evaluation.metrics.items():
            if found.value is not None:
                values.setdefault(name, []).append(found.value)
    return {name: sum(found) / len(found) for name, found in values.items() if len(found) == len(systems)}


def compare_recipes(folder: Path, recipes: Mapping[str, Sequence[Variant]], order: Sequence[str]) -> Compared:
    """All recipes against the first of `order`, in pairs."""
    single, groups = [], []
    for name in order:
        runs = [str(folder / variant.name) for variant in recipes[name]]
        if len(runs) == 1:
            single += runs
        else:
            groups.append(f"{name}={','.join(runs)}")
    return compare(single, groups)


def results_text(compared: Compared, by: str, reported: Mapping[str, EvaluationRecord], markdown: bool = False) -> str:
    """The table, the paired differences of the metric that chose, and the best recipe on the other half."""
    systems = compared.systems.values()
    metrics = [m for m in dict.fromkeys((by, *_SHOWN)) if all(m in system.evaluation.metrics for system in systems)]
    table = (markdown_comparison if markdown else text_comparison)(compared, metrics)
    best, *_ = compared.systems
    lines = [comparison_line(record) for record in compared.comparisons if record.metric == by]
    parts = [f"Best by {by.replace('_', ' ')}: {best}, of {len(compared.systems)}.", table, "\n".join(lines)]
    if reported:
        grid = markdown_grid if markdown else lambda grid: text_grid(grid, _WIDTH)
        parts.append(
            "The number to report: the best one on the other half of the held-out people. Above it looks better than it is,"
            " since those people chose it."
        )
        parts.append(grid(_reported_grid(reported, metrics)))
    return "\n\n".join(filter(None, parts))


def _reported_grid(reported: Mapping[str, EvaluationRecord], metrics: Sequence[str]) -> list[list[str]]:
    rows = [row for row in rows_of(reported) if row.kind == "system" or row.name.startswith("gold")]
    shown = ([row.cells.get(m, Cell(None)).show(decimals_of(rows, m)) for m in metrics] for row in rows)
    header = ["on the other half", *(metric.replace("_", " ") for metric in metrics)]
    return [header, *([row.name, *cells] for row, cells in zip(rows, shown, strict=True))]


def results_record(compared: Compared, by: str, reported: Mapping[str, EvaluationRecord]) -> dict[str, Any]:
    """The same as data, without replies."""
    measured: dict[str, Metrics] = {name: record.metrics for name, record in reported.items()}
    return {
        "by": by,
        "best": next(iter(compared.systems)),
        **compared.model_dump(mode="json", exclude={"dialogues", "selfplay"}),
        "reported": measured,
    }
