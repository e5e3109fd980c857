"""Training curves and results: as SVG that takes its colours from the page, so it is right in light and in dark, or together
in one PNG."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from selfsame.report.cells import Cell, Row
from selfsame.report.drawing import INK, LINE, Series, dress, legend, legend_lines, smooth, thinned
from selfsame.report.metrics import metric_of
from selfsame.run.records import RewardRecord

_WIDTH, _HEIGHT, _TITLE = 3.7, 2.35, 0.3  # inches
_DPI = 110
_STYLE: Any = {"font.family": "sans-serif", "font.size": 9.5}
_COLOURS = ("#2f6fde", "#d9660a", "#1a9a6c", "#b0479b", "#8a6d1d", "#5b5fc7", "#6b7280", "#0e8a9e")
"""The page has a lighter one of each for dark screens, as `--plot-1` and so on."""
_SMOOTH_FROM = 40  # points; shorter curves are shown as they are
_FIELDS = ("stage", "step", "time", "not_finite")

_GROUPS: tuple[tuple[str, str, str], ...] = (
    ("Loss", "loss", r"(train_|valid(ation)?_|eval_)?loss"),
    ("Ranking accuracy", "share of pairs", r"[^/]*accuracy"),
    ("Reward model's score", "score", r"(.*_)?(reward|score)(_mean|_raw|_shaped)?"),
    (
        "Held-out people",
        "share of replies",
        r"eval_(in_character|consistency|contradiction|copying_unprompted|grounding_anywhere)",
    ),
    (
        "Rules that sampled replies break",
        "share of replies",
        r"ungrounded|off_topic_grounding|contradiction|copying_unprompted|repetition|nothing_new|malformed|no_answer",
    ),
    ("KL to the SFT model", "nats", r"kl|kl_(mean|reference|ref|sft|per_token|per_reply)|(mean|reference|ref)_kl"),
    ("KL coefficient", "coefficient", r"kl_coef.*"),
    ("Entropy", "nats per token", r".*entropy.*"),
    ("Clip fraction", "share of tokens", r"(?!value).*clip_?frac.*"),
    ("Explained variance", "share", r".*explained_variance.*"),
    ("Reply length", "tokens", r"(.*_)?(reply|response)_(length|tokens).*|(mean_)?length(_mean)?"),
)
"""Title, label of the vertical axis, and which metrics share the figure. Any other metric gets a figure of its own."""


@dataclass(frozen=True)
class Plot:
    """One figure: `draw` puts it into axes of `height` inches. `main`: belongs to what everyone looks at first.
    `metric`: the one that it shows, where it shows one of an evaluation."""

    stage: str
    title: str
    draw: Callable[[Axes], None]
    main: bool = True
    height: float = _HEIGHT
    metric: str = ""

    @cached_property
    def svg(self) -> str:
        """The SVG element, without the header and the addresses that matplotlib writes."""
        name = f"{self.stage}: {self.title}"
        style: Any = {"svg.fonttype": "none", "svg.hashsalt": name, **_STYLE}
        with matplotlib.rc_context(style):
            figure = Figure(figsize=(_WIDTH, self.height), layout="constrained")
            axes = figure.add_subplot()
            self.draw(axes)
            dress(axes)
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        text = buffer.getvalue()
        text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
        text = re.sub(r"<g id=\"[^\"]*\"", "<g", text)  # these would be the same in every figure of the page
        text = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 role="img">', text, count=1)
        for place, colour in enumerate(_COLOURS, 1):
            text = text.replace(colour, f"var(--plot-{place}, {colour})")
        return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text).replace(INK, "currentColor").strip()


def png(plots: Sequence[Plot], columns: int = 3) -> bytes:
    """All plots in one picture with a white ground, `columns` in a row."""
    columns = max(1, min(columns, len(plots)))
    rows = [plots[at : at + columns] for at in range(0, len(plots), columns)]
    heights = [max(plot.height for plot in row) + _TITLE for row in rows]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH * columns, sum(heights)), layout="constrained", dpi=_DPI)
        grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
        for r, row in enumerate(rows):
            for c, plot in enumerate(row):
                axes = figure.add_subplot(grid[r, c])
                plot.draw(axes)
                dress(axes)
                shown = axes.get_legend()
                lines = legend_lines([text.get_text() for text in shown.get_texts()]) if shown else 0
                pad = 6 + 72 * LINE * lines  # points; the legend stands between title and axes
                axes.set_title(plot.title, fontsize=10, fontweight="bold", loc="left", color=INK, pad=pad)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


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
            moves = any(len(set(values)) > 1 for _, values in members.values())
            height = _HEIGHT + LINE * legend_lines(members)
            plots.append(Plot(stage, title, _curves(label, members), rank < len(_GROUPS) and moves, height))
    return plots


def result_plots(rows: Sequence[Row]) -> list[Plot]:
    """One figure per metric: every system and reference with its confidence interval."""
    names = list(dict.fromkeys(name for row in rows for name in row.cells))
    return [
        _intervals("results", _title(name), name, rows, metric_of(name).share)
        for name in names if _measured(name, rows)
    ]  # fmt: skip


def reward_plots(records: Sequence[Mapping[str, Any]], reward: RewardRecord | None) -> list[Plot]:
    """What the reward model ranks rightly, by the reason why a reply is worse; and what its score of PPO's replies cost in KL,
    step by step from light to dark (Gao et al. 2023, arXiv:2210.10760)."""
    shares = {name: value for name, value in (reward.metrics if reward else {}).items() if value is not None}
    plots = [_shares("reward", "Held-out pairs ranked correctly", shares)] if shares else []
    ppo = read_series(records).get("ppo", {})
    if {"kl", "reward"} <= set(ppo):
        plots.append(Plot("ppo", "Score against KL", _path(ppo["kl"][1], ppo["reward"][1])))
    return plots


def histogram(title: str, parts: Mapping[str, Sequence[int]]) -> Plot:
    """How often each count comes, a line a part; what lies above the 99th percentile is counted there."""
    known = [value for values in parts.values() for value in values]
    top = sorted(known)[int(0.99 * (len(known) - 1))] if known else 0

    def draw(axes: Axes) -> None:
        for colour, (name, values) in zip(_COLOURS * len(parts), parts.items(), strict=False):
            shares = [sum(min(v, top) == count for v in values) / max(1, len(values)) for count in range(top + 1)]
            axes.step(range(top + 1), shares, where="mid", color=colour, linewidth=1.6, label=name)
        axes.set_ylabel("share")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        legend(axes, [*parts])

    return Plot("data", title, draw, height=_HEIGHT + LINE * legend_lines(parts))


def difference_plot(title: str, cells: Mapping[str, Cell]) -> Plot:
    """One figure of differences: a metric a line, with its interval, and a line at no difference."""
    label = "difference"
    rows = [Row(name.replace("_", " "), "system", cells={label: cell}) for name, cell in cells.items()]
    return _intervals("differences", title, label, rows, all(metric_of(name).share for name in cells))


def _group_of(name: str) -> tuple[int, str, str]:
    for rank, (title, label, pattern) in enumerate(_GROUPS):
        if re.fullmatch(pattern, name):
            return rank, title, label
    return len(_GROUPS), _title(name), name.replace("_", " ")


def _title(name: str) -> str:
    words = name.replace("_", " ").replace("/", ": ")
    return words[:1].upper() + words[1:]


def _curves(label: str, members: Mapping[str, Series]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for colour, (name, series) in zip(_COLOURS * len(members), members.items(), strict=False):
            _curve(axes, thinned(series), colour, name)
        if label.startswith("share"):
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if len(members) > 1:
            legend(axes, [*members])

    return draw


def _curve(axes: Axes, series: Series, colour: str, label: str) -> None:
    steps, values = series
    if len(values) < _SMOOTH_FROM:
        axes.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=2.5, label=label)
        return
    axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.35)
    axes.plot(steps, smooth(values), color=colour, linewidth=1.8, label=label)


def _intervals(stage: str, title: str, metric: str, rows: Sequence[Row], percent: bool) -> Plot:
    shown = _measured(metric, rows)

    def draw(axes: Axes) -> None:
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        if stage == "differences":
            axes.axvline(0, color=INK, alpha=0.6, linewidth=1)
        for place, row in enumerate(reversed(shown)):
            cell = row.cells[metric]
            look: Any = {"color": _COLOURS[0]} if row.kind == "system" else {"color": INK, "alpha": 0.55}
            if cell.low is not None and cell.high is not None:
                axes.plot([cell.low, cell.high], [place, place], linewidth=2.2, **look)
            axes.plot([cell.value or 0.0], [place], "o", markersize=5.5, **look)
        axes.set_yticks(range(len(shown)), [row.name for row in reversed(shown)])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(metric.replace("_", " "))

    return Plot(stage, title, draw, height=0.8 + 0.25 * len(shown), metric=metric)


def _shares(stage: str, title: str, shares: Mapping[str, float]) -> Plot:
    names = sorted(shares, key=lambda name: (name != "accuracy", -shares[name]))

    def draw(axes: Axes) -> None:
        for place, name in enumerate(reversed(names)):
            axes.plot([0.5, shares[name]], [place, place], color=_COLOURS[0], linewidth=2.2, alpha=0.35)
            axes.plot([shares[name]], [place], "o", markersize=5.5, color=_COLOURS[0 if name == "accuracy" else 1])
        axes.axvline(0.5, color=INK, alpha=0.6, linewidth=1)  # by chance
        labels = [name.partition("/")[2].replace("_", " ") or "all of them" for name in reversed(names)]
        axes.set_yticks(range(len(names)), labels)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlabel("share of pairs; line: by chance")
        axes.xaxis.set_major_formatter(PercentFormatter(1))

    return Plot(stage, title, draw, height=0.8 + 0.25 * len(names))


def _path(across: Sequence[float], up: Sequence[float]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for k, point in enumerate(zip(across, up, strict=True)):
            axes.plot(*point, "o", markersize=3.5, color=_COLOURS[0], alpha=0.25 + 0.75 * (k + 1) / len(across))
        axes.set_xlabel("KL to the SFT model, nats per reply")
        axes.set_ylabel("reward model's score")

    return draw


def _measured(metric: str, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if metric in row.cells and row.cells[metric].value is not None]
