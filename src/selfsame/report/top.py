"""What a page begins with: the verdict, a few numbers, replies to the same prompts, and the command to chat."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsame.errors import RunError
from selfsame.report.cells import Cell, Row
from selfsame.report.formats import dollars, duration, shown
from selfsame.report.metrics import metric_of
from selfsame.report.verdict import HEADLINES, SamePrompt, unselected, verdict_of
from selfsame.run.comparisons import ComparisonRecord
from selfsame.run.records import CostRecord, EvaluationRecord, read_record
from selfsame.systems import SINGLE, SYSTEMS, SystemFacts


def _label(system: SystemFacts) -> str:
    """Its title as a heading: what PPO or DPO made is the trained model, of which SFT is the beginning."""
    return f"trained ({system.title})" if system.role == "policy" else system.title.removeprefix("the ")


_LABELS = {name: _label(SYSTEMS[name]) for name in SINGLE}
_PEOPLE = "people"
_ANYBODY = ("I have two dogs.", "I drive a night bus.")
_TRAITS_SHOWN = 3


def top_of_run(
    evaluations: Mapping[str, EvaluationRecord],
    records: Sequence[ComparisonRecord],
    rows: Sequence[Row],
    cost: CostRecord | None,
) -> dict[str, Any]:
    """Gather what the report of a run begins with.

    Args:
        evaluations: by system.
        records: paired comparisons (`comparisons.json`).
        rows: those of the tables, which rest on enough dialogues.
        cost: of the run, where it is known.

    Returns:
        `{verdict, metric, tiles, cost, prompts}`.
    """
    metric, tiles = character_tiles(rows, SINGLE, next(iter(HEADLINES)), _LABELS)
    return {
        "verdict": verdict_of(evaluations, records),
        "metric": metric,
        "tiles": tiles,
        "cost": _cost_tiles(cost),
        "prompts": [_prompt(found) for found in unselected(evaluations)],
    }


def character_tiles(
    rows: Sequence[Row], names: Sequence[str], wanted: str, labels: Mapping[str, str]
) -> tuple[Any, list[dict[str, Any]]]:
    """Make a tile for people and for each named system of the headline metric.

    `wanted` is that metric where it was measured, else the next of the headlines is shown. Systems without a row are left out.
    """
    systems = {row.name: row.cells for row in rows if row.kind == "system"}
    gold = next((row.cells for row in rows if row.kind == "reference" and row.name.startswith("gold")), {})
    for name in dict.fromkeys((wanted, *HEADLINES)):
        metric = metric_of(name)
        cells = [(_PEOPLE, gold.get(name)), *((labels.get(s, s), systems[s].get(name)) for s in names if s in systems)]
        if any(cell and cell.value is not None for label, cell in cells if label != _PEOPLE):
            return metric, [_tile(label, *shown(cell, metric, 2), cell) for label, cell in cells if cell]
    return metric_of(wanted), []


def chat_command(run_dir: str | Path) -> str:
    """Write the command that talks with a run's bot, as a shell takes it: as somebody whom the run was evaluated as, unless it
    keeps a card."""
    run = Path(run_dir)
    command = f"selfsame chat --model {shlex.quote(str(run))}"
    best = _evaluated(run / "eval" / "ppo_best_of_n.json")
    count = best.best_of if best else 1
    command += f" --best-of {count}" if count > 1 else ""
    if (run / "card.json").exists():
        return command
    return f"{command} --persona {shlex.join(_somebody(run))}"


def _somebody(run: Path) -> Sequence[str]:
    """A few traits of the first person that a system of the run was evaluated as."""
    records = [_evaluated(run / "eval" / f"{system}.json") for system in SYSTEMS]
    replies = [reply for record in records if record for reply in record.replies]
    return replies[0].persona[:_TRAITS_SHOWN] if replies else _ANYBODY


def _evaluated(path: Path) -> EvaluationRecord | None:
    """An evaluation, None where there is none or its file is damaged, which the page says elsewhere."""
    try:
        return read_record(path, EvaluationRecord) if path.exists() else None
    except RunError:
        return None


def _tile(label: str, value: str, interval: str, cell: Cell) -> dict[str, Any]:
    """A bar goes with the number: its length, and where the interval begins and ends, in percent of the tile."""
    ends = {"at": cell.value, "low": cell.low, "high": cell.high}
    known = {key: round(100 * min(1.0, max(0.0, end)), 1) for key, end in ends.items() if end is not None}
    return {"label": label, "value": value, "interval": interval, "people": label == _PEOPLE, **known}


def _cost_tiles(cost: CostRecord | None) -> list[dict[str, str]]:
    """Time, and dollars where they are known: an unknown price is no price of 0."""
    tiles = []
    if cost and cost.total_seconds is not None:
        tiles.append({"label": "time of all stages", "value": duration(cost.total_seconds)})
    if cost and cost.total_cost is not None:
        tiles.append({"label": "cost", "value": dollars(cost.total_cost)})
    return tiles


def _prompt(found: SamePrompt) -> dict[str, Any]:
    replies = [(_LABELS.get(name, name), text) for name, text in found.replies.items()]
    return {"persona": found.persona, "asked": found.asked, "replies": replies}
