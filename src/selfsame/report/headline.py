"""What a run gained, in a few tiles: the last stage against the one that it started from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from selfsame.report.cells import Cell, Row, cell_of
from selfsame.report.formats import difference, shown
from selfsame.report.metrics import Metric, metric_of
from selfsame.run.comparisons import ComparisonRecord
from selfsame.systems import LATEST, SYSTEMS

_PAIRS = [(name, SYSTEMS[name].compared_with[0]) for name in LATEST if SYSTEMS[name].compared_with]
"""Each trained system, the latest first, and the one that it started from."""
_BETTER = {
    "in_character": "higher",
    "sensible_consistency": "higher",
    "consistency": "higher",
    "contradiction": "lower",
    "copying_unprompted": "lower",
}
"""The scores that are shown, and which verdict on the difference is good."""
_COST = {"perplexity": "lower", "distinct_2": "higher", "repetition": "lower"}
"""What a gain may have cost, and what is good of it."""


def headline(
    rows: Sequence[Row], comparisons: Sequence[ComparisonRecord], talking: Sequence[Row] = ()
) -> list[dict[str, Any]]:
    """Tiles of the first pair of systems that was compared: what was measured in pairs, then what that may have cost.

    Args:
        rows: systems with their metrics.
        comparisons: paired differences (`comparisons.json`).
        talking: the same systems in self-play.

    Returns:
        `{metric, from, to, change, verdict, systems}` each, `verdict` better, worse, tie or unknown; without pairs, better or
        worse where the intervals lie apart.
    """
    cells, talks = ({row.name: row.cells for row in some if row.kind == "system"} for some in (rows, talking))
    for system, than in _PAIRS:
        found = {r.metric: r for r in comparisons if (r.system, r.than) == (system, than)}
        if not (system in cells and than in cells and found):
            continue
        after, before = cells[system], cells[than]
        tiles = [
            _tile(
                metric_of(name),
                before[name],
                after[name],
                _change(found[name]),
                _verdict(name, found[name].verdict),
            )
            for name in _BETTER
            if name in found and name in after and name in before
        ]
        for name, better in _COST.items():
            of = talks if name == "repetition" else cells
            old, new = of.get(than, {}).get(name), of.get(system, {}).get(name)
            if old and new and old.value is not None and new.value is not None:
                metric = metric_of(name, selfplay=of is talks)
                metric = replace(metric, label=f"self-play {name}") if of is talks else metric
                change = " → ".join(shown(cell, metric, 2)[1] or "no interval" for cell in (old, new))
                tiles.append(_tile(metric, old, new, change, _apart(old, new, better)))
        return [tile | {"systems": f"{than} → {system}"} for tile in tiles]
    return []


def _tile(metric: Metric, old: Cell, new: Cell, change: str, verdict: str) -> dict[str, Any]:
    values = {"from": shown(old, metric, 2)[0], "to": shown(new, metric, 2)[0]}
    return {"metric": metric, **values, "change": change, "verdict": verdict}


def _apart(old: Cell, new: Cell, better: str) -> str:
    if None in (old.low, old.high, new.low, new.high):
        return "unknown"
    higher, lower = (new.low or 0) > (old.high or 0), (new.high or 0) < (old.low or 0)
    return "tie" if not (higher or lower) else "better" if higher == (better == "higher") else "worse"


def _change(record: ComparisonRecord) -> str:
    change, interval = difference(cell_of(record), metric_of(record.metric))
    return f"{change} {interval}".strip() + f", {record.verdict}"


def _verdict(metric: str, verdict: str) -> str:
    if verdict not in ("higher", "lower"):
        return verdict
    return "better" if verdict == _BETTER[metric] else "worse"
