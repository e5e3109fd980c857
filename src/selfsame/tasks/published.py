"""Numbers that others published (`published.json`), with source, evidence, and whether they compare with ours."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

EVIDENCE = {
    "R": "read in the repository's file",
    "P": "read on a page's excerpt",
    "C": "computed from released data",
}
PERCENT = {"percent": 1.0, "share": 100.0}
_UNKNOWN = "–"


@dataclass(frozen=True)
class Published:
    """A number that somebody published.

    Attributes:
        split: which part of the benchmark, or whose judgement.
        persona_version: None: the source does not say, or there is none.
        unit: of the value, as it was printed: percent, share (0 to 1), perplexity, ...
        source: public address, or repository and file.
        evidence: a letter of `EVIDENCE`.
        comparable: whether it may be held against our number of the same name; `reason`: why, or why not.
    """

    system: str
    benchmark: str
    split: str
    persona_version: str | None
    metric: str
    definition: str
    unit: str
    value: float
    source: str
    evidence: str
    comparable: bool
    reason: str

    @property
    def shown(self) -> float:
        """Shares in percent, all else as it is."""
        return self.value * PERCENT.get(self.unit, 1.0)


@lru_cache(maxsize=1)
def published() -> tuple[Published, ...]:
    """All of them, in the order of the file."""
    text = Path(__file__).with_name("published.json").read_text(encoding="utf-8")
    return tuple(Published(**entry) for entry in json.loads(text))


def beside(
    benchmark: str, split: str, metrics: Mapping[str, str], own_name: str, own: Mapping[str, float]
) -> tuple[list[list[str]], list[str]]:
    """Our row beside the published rows of a benchmark's split. `metrics`: name -> heading of the column; `own_name`, `own`:
    our row, shares in percent (NaN where nothing was measured).

    Returns:
        (rows of cells, the heading first; notes: why the numbers marked with *k are not comparable).
    """
    entries = [p for p in published() if (p.benchmark, p.split) == (benchmark, split) and p.metric in metrics]
    systems = dict.fromkeys((p.system, p.persona_version) for p in entries)
    reasons = list(dict.fromkeys(p.reason for p in entries if not p.comparable))

    def cell(system: str, version: str | None, metric: str) -> str:
        found = [p for p in entries if (p.system, p.persona_version, p.metric) == (system, version, metric)]
        marks = (f"{p.shown:.1f}" + ("" if p.comparable else f" *{1 + reasons.index(p.reason)}") for p in found)
        return ", ".join(marks) or _UNKNOWN

    ours = [_UNKNOWN if math.isnan(own.get(m, math.nan)) else f"{own[m]:.1f}" for m in metrics]
    rows = [["system", "personas", *metrics.values()], [own_name, "", *ours]]
    rows += [[s, v or _UNKNOWN, *(cell(s, v, m) for m in metrics)] for s, v in systems]
    return rows, [f"*{k} not comparable: {reason}" for k, reason in enumerate(reasons, start=1)]


def aligned(rows: list[list[str]]) -> str:
    """Rows of cells as plain text, the first column to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    )
