"""What a run gained, in a few tiles: the last stage against the one that it started from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selfsame.report.tables import Row, cell_of

_PAIRS = (("ppo", "sft"), ("dpo", "sft"), ("sft", "base"))
_BETTER = {"consistency": "higher", "expression": "higher", "contradiction": "lower", "recitation": "lower"}
"""The scores that are shown, and which verdict on the difference is good."""


def headline(rows: Sequence[Row], comparisons: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Tiles of the first pair of systems that was compared: `{metric, from, to, change, verdict, systems}` each, `verdict`
    better, worse, tie or unknown."""
    cells = {row.name: row.cells for row in rows if row.kind == "system"}
    for system, than in _PAIRS:
        found = {r.get("metric"): r for r in comparisons if (r.get("system"), r.get("than")) == (system, than)}
        if system in cells and than in cells and found:
            tiles = [(name, found[name]) for name in _BETTER if name in found]
            return [
                {
                    "metric": name,
                    "from": cells[than][name].show_value(3),
                    "to": cells[system][name].show_value(3),
                    "change": _change(record),
                    "verdict": _verdict(name, str(record.get("verdict"))),
                    "systems": f"{than} → {system}",
                }
                for name, record in tiles
                if name in cells[system] and name in cells[than]
            ]
    return []


def _change(record: Mapping[str, Any]) -> str:
    cell = cell_of(record)
    sign = "+" if cell.value is not None and cell.value >= 0 else ""
    return f"{sign}{cell.show(3)}, {record.get('verdict')}"


def _verdict(metric: str, verdict: str) -> str:
    if verdict not in ("higher", "lower"):
        return verdict
    return "better" if verdict == _BETTER[metric] else "worse"
