"""Training curves and results as SVG that takes its colours from the page, so it is right in light and in dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from selfsame.report.tables import Cell, Row

Series = tuple[list[int], list[float]]
"""Steps and values; NaN where a step has no value, which leaves a gap in the curve."""

_INK = "#010203"  # stands for the page's text colour until the SVG is finished
_COLOURS = ("#2f6fde", "#d9660a", "#1a9a6c", "#b0479b", "#8a6d1d", "#5b5fc7")
_MOST_POINTS = 600
_SMOOTH_FROM = 40  # points; shorter curves are shown as they are
_FIELDS = ("stage", "step", "time", "not_finite")

_GROUPS: tuple[tuple[str, str, str], ...] = (
    ("Loss", "loss", r"(train_|valid(ation)?_|eval_)?loss"),
    ("Ranking accuracy", "share of pairs", r".*accuracy.*"),
    ("Reward", "reward", r"(.*_)?(reward|score)(_mean|_raw|_shaped)?"),
    ("Held-out people", "share of replies", r"watch_(consistency|expression|contradiction|recitation)"),
    ("Faults of the sampled replies", "share of replies", r"missed|contradiction|recitation|repetition"),
    ("KL to the SFT model", "nats", r"kl|kl_(mean|reference|ref|sft|per_token|per_reply)|(mean|reference|ref)_kl"),
    ("KL coefficient", "coefficient", r"kl_coef.*"),
    ("Entropy", "nats per token", r".*entropy.*"),
    ("Clip fraction", "share of tokens", r"(?!value).*clip_?frac.*"),
    ("Explained variance", "share", r".*explained_variance.*"),
    ("Reply length", "tokens", r"(.*_)?(reply|response)_(length|tokens).*|(mean_)?length(_mean)?"),
)
"""Title, label of the vertical axis, and which metrics share the figure. Any other metric gets a figure of its own."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure. `main`: belongs to what everyone looks at first."""

    stage: str
    title: str
    svg: str
    main: bool


def read_series(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Series]]:
    """Stage -> metric -> series, from the records of metrics.jsonl; stages and metrics in order of appearance."""
    found: dict[str, dict[str, Series]] = {}
    for record in records:
        step = record.get("step")
        if not isinstance(step, int):
            continue
        metrics = found.setdefault(str(record.get("stage", "")), {})
        for name, value in record.items():
            if name in _FIELDS or name.startswith("skipped") or isinstance(value, (str, bool, list, dict)):
                continue
            steps, values = metrics.setdefault(name, ([], []))
            steps.append(step)
            values.append(math.nan if value is None else float(value))
    return found


def training_plots(records: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """One figure per stage and group of metrics, the known groups first."""
    plots = []
    for stage, metrics in read_series(records).items():
        groups: dict[tuple[int, str, str], dict[str, Series]] = {}
        for name, series in metrics.items():
            if any(math.isfinite(value) for value in series[1]):
                groups.setdefault(_group_of(name), {})[name] = series
        for (rank, title, label), members in sorted(groups.items(), key=lambda item: item[0]):
            plots.append(Plot(stage, title, _curves(stage, title, label, members), rank < len(_GROUPS)))
    return plots


def result_plots(rows: Sequence[Row]) -> list[Plot]:
    """One figure per metric: every system and reference with its confidence interval."""
    names = list(dict.fromkeys(name for row in rows for name in row.cells))
    return [Plot("results", _title(name), _intervals(name, rows), True) for name in names if _measured(name, rows)]


def difference_plot(title: str, cells: Mapping[str, Cell]) -> Plot:
    """One figure of differences: a metric a line, with its interval, and a line at no difference."""
    label = "difference"
    rows = [Row(name.replace("_", " "), "system", cells={label: cell}) for name, cell in cells.items()]
    return Plot("differences", title, _intervals(label, rows, of=title, zero=True), True)


def _group_of(name: str) -> tuple[int, str, str]:
    for rank, (title, label, pattern) in enumerate(_GROUPS):
        if re.fullmatch(pattern, name):
            return rank, title, label
    return len(_GROUPS), _title(name), name.replace("_", " ")


def _title(name: str) -> str:
    words = name.replace("_", " ").replace("/", ": ")
    return words[:1].upper() + words[1:]


def _curves(stage: str, title: str, label: str, members: Mapping[str, Series]) -> str:
    def draw(axes: Axes) -> None:
        for colour, (name, series) in zip(_COLOURS * len(members), members.items(), strict=False):
            _curve(axes, _thinned(series), colour, name.replace("_", " "))
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if len(members) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=_INK)

    return _svg(f"{stage}: {title}", draw, 2.35)


def _curve(axes: Axes, series: Series, colour: str, label: str) -> None:
    steps, values = series
    if len(values) < _SMOOTH_FROM:
        axes.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=2.5, label=label)
        return
    axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.35)
    axes.plot(steps, _smooth(values), color=colour, linewidth=1.8, label=label)


def _intervals(metric: str, rows: Sequence[Row], of: str = "results", zero: bool = False) -> str:
    shown = _measured(metric, rows)

    def draw(axes: Axes) -> None:
        if zero:
            axes.axvline(0, color=_INK, alpha=0.6, linewidth=1)
        for place, row in enumerate(reversed(shown)):
            cell = row.cells[metric]
            look: Any = {"color": _COLOURS[0]} if row.kind == "system" else {"color": _INK, "alpha": 0.55}
            if cell.low is not None and cell.high is not None:
                axes.plot([cell.low, cell.high], [place, place], linewidth=2.2, **look)
            axes.plot([cell.value or 0.0], [place], "o", markersize=5.5, **look)
        axes.set_yticks(range(len(shown)), [row.name for row in reversed(shown)])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(metric.replace("_", " "))

    return _svg(f"{of}: {metric}", draw, 0.8 + 0.25 * len(shown))


def _measured(metric: str, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if metric in row.cells and row.cells[metric].value is not None]


def _thinned(series: Series) -> Series:
    """Means of neighbours where there are more points than a screen can show. Gaps are left out of the means."""
    steps, values = series
    size = math.ceil(len(values) / _MOST_POINTS)
    if size == 1:
        return series
    chunks = [values[start : start + size] for start in range(0, len(values), size)]
    known = [[value for value in chunk if math.isfinite(value)] for chunk in chunks]
    return steps[::size], [sum(chunk) / len(chunk) if chunk else math.nan for chunk in known]


def _smooth(values: Sequence[float]) -> list[float]:
    """A running mean over a twentieth of the curve to either side; it looks both ways, so it does not lag."""
    reach = max(2, len(values) // 40)
    smoothed = []
    for index, value in enumerate(values):
        window = [near for near in values[max(0, index - reach) : index + reach + 1] if math.isfinite(near)]
        smoothed.append(sum(window) / len(window) if math.isfinite(value) else math.nan)
    return smoothed


def _svg(name: str, draw: Any, height: float) -> str:
    """The SVG element of a figure of 3.7 x `height` inches, without the header and the addresses matplotlib writes."""
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 9.5}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.7, height), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        _dress(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<g id=\"[^\"]*\"", "<g", text)  # these would be the same in every figure of the page
    text = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 role="img">', text, count=1)
    return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text).replace(_INK, "currentColor").strip()


def _dress(axes: Axes) -> None:
    axes.grid(color=_INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=0, labelsize=9)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)
        spine.set_alpha(0.4)
