"""What notebooks show: pictures and tables of data and runs, each the last line of a cell.

Everything is read from the records of a run directory. What is shown has a plain-text form too, for a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from selfsame.report.formats import duration, number, size
from selfsame.report.plots import Plot, histogram, png, result_plots, reward_plots, training_plots
from selfsame.report.samples import conversations
from selfsame.report.tables import (
    UNKNOWN,
    read_evaluations,
    result_grids,
    rows_of,
    selfplay_rows,
    summary_lines,
    text_grid,
)
from selfsame.run.directory import RunDirectory
from selfsame.run.environment import describe_environment
from selfsame.run.files import dotted, read_jsonl
from selfsame.run.metrics import savings_between
from selfsame.run.records import CostRecord, Dialogues, RewardRecord, ShownReply, read_record

if TYPE_CHECKING:
    from selfsame.config import Config
    from selfsame.data.audit import Audit
    from selfsame.data.loader import Dataset
    from selfsame.types import PreferencePair

_WIDTH = 110
_TAG = {"drawn": "u", "copied": "mark", "odds": "s"}
_CELL = "text-align:left;vertical-align:top"


@dataclass(frozen=True)
class Picture:
    """Plots side by side."""

    plots: Sequence[Plot]
    columns: int = 3

    def _repr_png_(self) -> bytes | None:
        return png(self.plots, self.columns) if self.plots else None

    def __repr__(self) -> str:
        return f"<{', '.join(plot.title for plot in self.plots) or 'nothing recorded yet'}>"


@dataclass(frozen=True)
class Table:
    """Tables below each other: each a header and lines of cells, which may be marked-up text. `notes` stand below."""

    grids: Sequence[Sequence[Sequence[Any]]]
    notes: Sequence[str] = ()

    def _repr_html_(self) -> str:
        tables = [_html(grid) for grid in self.grids if len(grid) > 1]
        lines = [f"<li>{escape(note)}</li>" for note in self.notes]
        return "".join([*tables, f"<ul>{''.join(lines)}</ul>" if lines else ""]) or "nothing recorded yet"

    def __repr__(self) -> str:
        plain = [[[Markup(cell).striptags() if isinstance(cell, Markup) else str(cell) for cell in line] for line in grid]
                 for grid in self.grids if len(grid) > 1]  # fmt: skip
        return "\n\n".join([*(text_grid(grid, _WIDTH) for grid in plain), *self.notes]) or "nothing recorded yet"


@dataclass(frozen=True)
class Text:
    """Lines of plain text."""

    text: str

    def __repr__(self) -> str:
        return self.text


# --- machine and data ---------------------------------------------------------------------------------------------------


def environment() -> Table:
    """This machine and the versions of what is installed."""
    found = dotted(describe_environment())
    rows = [
        [name.replace("_", " "), size(value) if name == "memory_bytes" else number(value)]
        for name, value in found.items()
    ]
    return Table([[["this machine", ""], *rows]])


def plan(config: Config, gpu: str | None = None, gpus: int = 1, hours: float | None = None) -> Text:
    """Memory and time of every stage before it starts, and what to change where it does not fit.

    Args:
        config: of the run.
        gpu: t4, l4, a100, h100, h200 or cpu; None: this machine's.
        gpus: how many.
        hours: that the run may take.
    """
    from selfsame.plan.summary import plan_lines

    return Text(plan_lines(config, gpu, gpus, hours)[0])


def dataset(data: Dataset) -> Picture:
    """How long dialogues, turns, replies and personas are, in training and held-out data."""
    parts = {"train": data.train, "held out": data.validation}
    counts = {
        "Own turns of a dialogue": {n: [len(e.replies) for e in part] for n, part in parts.items()},
        "Words of an own turn": {n: [len(r.split()) for e in part for r in e.replies] for n, part in parts.items()},
        "Traits of a persona": {n: [len(e.persona) for e in part] for n, part in parts.items()},
    }
    return Picture([histogram(title, values) for title, values in counts.items()])


def audit(found: Audit) -> Table:
    """What is wrong with the dialogues, and which are left out for it."""
    rows = []
    for name, finding in found.findings.items():
        action = "left out" if finding.kind.removes else "kept"
        rows.append([name, str(finding.count), f"{found.share(name):.1%}", action, finding.kind.meaning])
    examples = [[n, excerpt] for n, finding in found.findings.items() for _, excerpt in finding.examples[:1]]
    return Table([[["kind", "dialogues", "share", "clean-up", "meaning"], *rows], [["kind", "for example"], *examples]])


def pairs(found: Sequence[PreferencePair], each: int = 1) -> Table:
    """Some preference pairs of each reason."""
    shown: dict[str, list[PreferencePair]] = {}
    for pair in found:
        shown.setdefault(pair.reason, []).append(pair)
    rows = [
        [reason, " ".join(pair.prompt.persona), pair.prompt.history[-1], pair.chosen, pair.rejected]
        for reason, some in shown.items() for pair in some[:each]
    ]  # fmt: skip
    return Table([[["why the second is worse", "persona", "asked", "chosen", "rejected"], *rows]])


# --- a run --------------------------------------------------------------------------------------------------------------


def curves(run: str | Path | RunDirectory, stage: str) -> Picture:
    """What was recorded while a stage was trained."""
    directory = _open(run)
    return Picture(
        [plot for plot in training_plots(read_jsonl(directory.metrics_path)[0]) if plot.stage == stage and plot.main]
    )


def reward(run: str | Path | RunDirectory) -> Picture:
    """What the reward model ranks correctly, by reason; and PPO's reward against its KL, where there is one."""
    directory = _open(run)
    path = directory.path / "reward.json"
    measured = read_record(path, RewardRecord) if path.exists() else None
    return Picture(reward_plots(read_jsonl(directory.metrics_path)[0], measured))


def results(run: str | Path | RunDirectory, selfplay: bool = False) -> Table:
    """Every system that was evaluated, with its references; or the same for what each said to itself."""
    directory = _open(run)
    found = read_evaluations(directory)
    rows = selfplay_rows(found) if selfplay else rows_of(found)
    return Table(result_grids(rows) if rows else [], () if selfplay else summary_lines(directory.path))


def intervals(run: str | Path | RunDirectory, metrics: Sequence[str] = ()) -> Picture:
    """The same as a picture. `metrics`: which; all of them where none is named."""
    plots = result_plots(rows_of(read_evaluations(_open(run))))
    wanted = {name.replace("_", " ") for name in metrics}
    return Picture([plot for plot in plots if not wanted or plot.title.lower() in wanted])


def samples(run: str | Path | RunDirectory, count: int = 4) -> Table:
    """Replies of the role in training to the same held-out prompts, at several steps."""
    grids = []
    for talk in conversations(read_jsonl(_open(run).samples_path)[0])[:count]:
        asked = talk.turns[-1].text if talk.turns else "(opens the dialogue)"
        head = ["when", f"{' '.join(talk.persona)} — {asked}", "reward"]
        grids.append([head, *([row.when, row.text, row.reward.removeprefix("reward ")] for row in talk.replies)])
    return Table(grids)


def dialogues(run: str | Path | RunDirectory, count: int = 4) -> Table:
    """Replies of all systems to the same held-out prompts, marked: underlined what draws on a trait, highlighted what is copied
    from it, struck through what the judge holds against the reply."""
    path = _open(run).path / "dialogues.json"
    grids = []
    for found in (read_record(path, Dialogues).root if path.exists() else [])[:count]:
        head = ["", f"{' '.join(found.persona)} — {found.history[-1] or '(opens the dialogue)'}", "consistent"]
        lines = [
            [name, _marked(reply), number(reply.scores.get("consistency"))] for name, reply in found.replies.items()
        ]
        grids.append([head, ["what the person said", found.gold, ""], *lines])
    return Table(grids)


def cost(run: str | Path | RunDirectory, than: str | Path | RunDirectory | None = None) -> Table:
    """Time, memory and money of a run. `than`: another run, beside it, with what the first saved against it where both did the
    same stages."""
    runs = [_open(each) for each in (run, than) if each is not None]
    names = [each.path.name for each in runs]
    names = names if len(set(names)) == len(names) else [str(each.path) for each in runs]
    bills = [read_record(each.cost_path, CostRecord) for each in runs]
    stages = list(dict.fromkeys(stage for bill in bills for stage in bill.seconds if "/" not in stage))
    rows = [[stage, *(duration(bill.seconds.get(stage)) for bill in bills)] for stage in stages]
    rows.append(["all of them", *(duration(bill.total_seconds) for bill in bills)])
    rows += [
        ["peak memory", *(size(bill.peak_memory_bytes) for bill in bills)],
        ["peak memory of a GPU", *(size(bill.peak_gpu_memory_bytes) for bill in bills)],
        ["disk", *(size(bill.storage_bytes) for bill in bills)],
        ["cost in dollars", *(number(bill.total_cost) for bill in bills)],
    ]
    if len(bills) < 2 or bills[0].seconds.keys() != bills[1].seconds.keys():
        return Table([[["", *names], *rows]], bills[0].notes)
    saved = [
        f"{name.removesuffix('_saved_percent').replace('_', ' ')} saved: {UNKNOWN if value is None else f'{value:.0f} %'}"
        for name, value in savings_between(bills[0].model_dump(), bills[1].model_dump()).items()
    ]
    return Table([[["", *names], *rows]], saved)


def published(
    benchmark: str, metrics: Mapping[str, str], own_name: str, own: Mapping[str, float], split: str = "validation"
) -> Table:
    """Numbers that others published, beside our own (see `tasks/published.py`, whose sources and notes go along)."""
    from selfsame.tasks.published import beside

    rows, notes = beside(benchmark, split, metrics, own_name, own)
    return Table([rows], notes)


def chat(run: str | Path | RunDirectory, persona: Sequence[str], system: str | None = None, best_of: int = 1) -> Any:
    """A chat with a run's bot: the persona can be edited, which starts a new conversation. `best_of`: sample
    this many replies and say the one that the reward model scores highest.

    Raises:
        ConfigError: ipywidgets is not installed.
    """
    from selfsame.serve.widget import chat_widget

    return chat_widget(str(_open(run).path), tuple(persona), system, best_of)


def _open(run: str | Path | RunDirectory) -> RunDirectory:
    return run if isinstance(run, RunDirectory) else RunDirectory.open(run)


def _marked(reply: ShownReply) -> Markup:
    parts = [Markup("<{0}>{1}</{0}>").format(_TAG[kind], text) if kind else escape(text) for text, kind in reply.parts]
    odds = [Markup("<br>at odds with <s>{}</s>").format(premise) for premise in reply.at_odds]
    return Markup("").join([*parts, *odds])


def _html(grid: Sequence[Sequence[Any]]) -> str:
    def line(tag: str, cells: Sequence[Any]) -> str:
        return "<tr>" + "".join(f'<{tag} style="{_CELL}">{escape(cell)}</{tag}>' for cell in cells) + "</tr>"

    body = "".join(line("td", cells) for cells in grid[1:])
    return f"<table><thead>{line('th', grid[0])}</thead><tbody>{body}</tbody></table>"
