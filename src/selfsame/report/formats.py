"""Numbers as the pages write them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from selfsame.report.cells import Cell
from selfsame.report.metrics import Metric
from selfsame.report.sources import UNKNOWN

_FINE_FROM = 1000
"""Items from which a tenth of a percent is worth reading."""


def shown(cell: Cell, metric: Metric, decimals: int) -> tuple[str, str]:
    """Write a value and its interval: shares as (`61%`, `[57, 65]`), others with `decimals`."""
    if cell.value is None:
        return UNKNOWN, ""
    if not metric.share:
        value, _, interval = cell.show(decimals).partition(" ")
        return value, interval
    value, _, interval = _hundredfold(cell).show(_share_decimals(cell)).partition(" ")
    return f"{value}%", interval


def difference(cell: Cell, metric: Metric, decimals: int = 3) -> tuple[str, str]:
    """Write a difference and its interval: of shares as (`+24 points`, `[8, 40]`)."""
    if cell.value is None:
        return UNKNOWN, ""
    kept = replace(_hundredfold(cell), seeds=None) if metric.share else replace(cell, seeds=None)
    value, _, interval = kept.show(_share_decimals(cell) if metric.share else decimals).partition(" ")
    sign = "" if value.startswith("-") else "+"
    return f"{sign}{value}{' points' if metric.share else ''}", interval


def duration(seconds: float | None) -> str:
    """`1 h 02 min`, `3 min 20 s`, `4.2 s`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float | None) -> str:
    """Bytes as `12.3 MB`, in powers of 1000."""
    if count is None:
        return UNKNOWN
    power = min(4, int(math.log10(count) // 3)) if count >= 1 else 0
    return f"{count / 1000**power:.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def dollars(amount: float | None) -> str:
    """`$0.35`; below a cent as many decimals as two digits need, `$0.0012`."""
    if amount is None:
        return UNKNOWN
    return f"${amount:,.2f}" if amount >= 0.01 or amount == 0 else f"${amount:.{1 - math.floor(math.log10(amount))}f}"


def number(value: Any) -> str:
    """A value of a configuration or a record, short."""
    if value is None or value == [] or value == {}:
        return UNKNOWN
    if isinstance(value, list):
        return ", ".join(number(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {number(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _share_decimals(cell: Cell) -> int:
    return 1 if (cell.count or 0) >= _FINE_FROM else 0


def _hundredfold(cell: Cell) -> Cell:
    """The same in percent; adding 0 turns a rounded -0 into 0."""
    digits = _share_decimals(cell)
    value, low, high = (None if v is None else round(100 * v, digits) + 0.0 for v in (cell.value, cell.low, cell.high))
    return replace(cell, value=value, low=low, high=high)
