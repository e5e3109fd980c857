"""How figures are drawn: what they all wear, legends that lie over no line, curves of more points than a screen has."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from matplotlib.axes import Axes

INK = "#010203"  # stands for the page's text colour until the SVG is finished
LINE = 0.17  # inches, of a legend
_LONG = 19  # letters; two such names fit a line of a legend
_MOST_POINTS = 600
Series = tuple[list[int], list[float]]
"""Steps and values; NaN where a step has no value, which leaves a gap in the curve."""


def legend(axes: Axes, names: Sequence[str]) -> None:
    """Name the lines above the axes, where no line can run."""
    labels = _labels_of(names)
    columns = math.ceil(len(labels) / max(1, legend_lines(labels)))
    axes.legend(axes.get_legend_handles_labels()[0], labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns,
                borderaxespad=0.2, borderpad=0, columnspacing=1.2, handlelength=1.4, labelspacing=0.3, frameon=False,
                fontsize=8.5, labelcolor=INK)  # fmt: skip


def legend_lines(names: Collection[str]) -> int:
    """Lines of a legend: two names in each where all are short; none where one line needs no name."""
    labels = _labels_of(names)
    across = 2 if max(map(len, labels), default=0) <= _LONG else 1
    return math.ceil(len(labels) / across) if len(labels) > 1 else 0


def _labels_of(names: Collection[str]) -> list[str]:
    """Names as they are read; `eval` is left out where all of them begin with it."""
    labels = [name.replace("_", " ") for name in names]
    return (
        [label.removeprefix("eval ") for label in labels]
        if all(name.startswith("eval ") for name in labels)
        else labels
    )


def thinned(series: Series) -> Series:
    """Means of neighbours where there are more points than a screen can show. Gaps are left out of the means."""
    steps, values = series
    size = math.ceil(len(values) / _MOST_POINTS)
    if size == 1:
        return series
    chunks = [values[start : start + size] for start in range(0, len(values), size)]
    known = [[value for value in chunk if math.isfinite(value)] for chunk in chunks]
    return steps[::size], [sum(chunk) / len(chunk) if chunk else math.nan for chunk in known]


def smooth(values: Sequence[float]) -> list[float]:
    """A running mean over a twentieth of the curve to either side; it looks both ways, so it does not lag."""
    reach = max(2, len(values) // 40)
    smoothed = []
    for index, value in enumerate(values):
        window = [near for near in values[max(0, index - reach) : index + reach + 1] if math.isfinite(near)]
        smoothed.append(sum(window) / len(window) if math.isfinite(value) else math.nan)
    return smoothed


def dress(axes: Axes) -> None:
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
        spine.set_alpha(0.4)
