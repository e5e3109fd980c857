"""The end of a run in a few lines: two sentences on what was gained and what it cost, and some replies side by side."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfsame.report.cells import Cell, Row, cell_of
from selfsame.report.tables import read_evaluations, rows_of
from selfsame.run.comparisons import ComparisonRecord, read_comparisons
from selfsame.run.directory import RunDirectory
from selfsame.run.records import EvaluationRecord
from selfsame.systems import SINGLE, STEPS, SYSTEMS

HEADLINES = {
    "in_character": "in character",
    "sensible_consistency": "consistent and sensible",
    "consistency": "consistent",
}
"""The first of these that was measured is what the verdict is about."""
_NAMES = {name: SYSTEMS[name].title for name in SINGLE}
PROMPTS = 3


def verdict(run_dir: str | Path) -> str:
    """Two sentences from the records of a run: which system is more often in character than the one it started from, and what
    that cost in perplexity. Where only one system was evaluated, they say that nothing was compared."""
    run = RunDirectory.open(run_dir)
    return " ".join(verdict_of(read_evaluations(run), read_comparisons(run.path / "comparisons.json")))


def verdict_of(evaluations: Mapping[str, EvaluationRecord], records: Sequence[ComparisonRecord]) -> list[str]:
    """Say the verdict in one or two sentences, from evaluations and paired comparisons that were read already."""
    systems = {row.name: row for row in rows_of(evaluations) if row.kind == "system"}
    if not systems:
        return ["Nothing was evaluated, so there is no verdict."]
    for metric, word in HEADLINES.items():
        found = {(r.system, r.than): r for r in records if r.metric == metric}
        steps = [(a, b) for a, b in STEPS if (a, b) in found and a in systems and b in systems]
        if steps:
            compared = [compared_clause(found[step], systems, word) for step in steps]
            return [_sentence("; ".join(compared)), _sentence(_cost(systems, steps))]
    return _alone(systems)


def run_verdict(run_dir: str | Path) -> str:
    """The verdict and some replies, for a terminal."""
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    prompts = unselected(read_evaluations(RunDirectory.open(run_dir)))
    title = "Replies to held-out prompts, spread evenly over the test and not selected:"
    replies = [title, replies_text(prompts, width)] if prompts else []
    return "\n\n".join([textwrap.fill(verdict(run_dir), width=width), *replies])


@dataclass(frozen=True)
class SamePrompt:
    """A held-out prompt, what the person said, and each system's reply to it."""

    persona: Sequence[str]
    history: Sequence[str]
    gold: str
    replies: Mapping[str, str]

    @property
    def asked(self) -> str:
        """The partner's turn; empty where the bot opens the dialogue."""
        return self.history[-1] if self.history else ""


def unselected(evaluations: Mapping[str, EvaluationRecord], count: int = PROMPTS) -> list[SamePrompt]:
    """Replies of the systems to the same held-out prompts that all of them answered, spread evenly over the test and chosen
    without a look at them."""
    systems = [name for name in SINGLE if name in evaluations]
    parts = [evaluations[name].talk or evaluations[name].replies for name in systems]
    by_prompt = [{(row.dialogue, *row.persona, *row.history): row for row in rows} for rows in parts]
    shared = [key for key in (by_prompt[0] if by_prompt else ()) if all(key in rows for rows in by_prompt)]
    chosen = [shared[k * len(shared) // count] for k in range(count)] if len(shared) > count else shared
    found = []
    for key in chosen:
        first, replies = by_prompt[0][key], {n: rows[key].reply for n, rows in zip(systems, by_prompt, strict=True)}
        found.append(SamePrompt(first.persona, first.history, first.gold, replies))
    return found


def replies_text(prompts: Sequence[SamePrompt], width: int = 100) -> str:
    """The same for a terminal of this width: a block for each prompt, a reply a line."""
    blocks = []
    for found in prompts:
        lines = {"persona": " ".join(found.persona), "partner": found.asked or "(the bot opens the dialogue)"}
        said = {**lines, **found.replies}
        blocks.append("\n".join(_wrapped(name, text, width) for name, text in said.items()))
    return "\n\n".join(blocks)


def _wrapped(name: str, text: str, width: int) -> str:
    """One line of a block. What a model says may hold control characters, which a terminal would obey."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return textwrap.fill(" ".join(plain.split()) or "(nothing)", width, initial_indent=f"  {name:<8} ",
                         subsequent_indent=" " * 11)  # fmt: skip


def compared_clause(record: ComparisonRecord, systems: Mapping[str, Row], word: str) -> str:
    """Say `SFT is more often in character than the base model (38% of replies against 14%, +24 points [8, 40])`."""
    system, than = record.system, record.than
    cell, metric, names = cell_of(record), record.metric, [_NAMES.get(name, name) for name in (system, than)]
    values = [systems[name].cells.get(metric, Cell(None)).value for name in (system, than)]
    shares = "" if None in values else "{:.0%} of replies against {:.0%}, ".format(*values)
    difference = f"({shares}{_points(cell)})"
    verdict = record.verdict
    if verdict == "tie":
        difference = f"({shares}{_points(cell)}{_doubt(cell, record.p_corrected)})"
        return f"{names[0]} and {names[1]} tie in how often they are {word} {difference}"
    if verdict not in ("higher", "lower"):
        return f"whether {names[0]} is more often {word} than {names[1]} could not be measured"
    return f"{names[0]} is {'more' if verdict == 'higher' else 'less'} often {word} than {names[1]} {difference}"


def _points(cell: Cell) -> str:
    """A difference of shares in percentage points with its interval: `+24 points [8, 40]`."""
    if cell.value is None:
        return "difference unknown"
    text = f"{100 * cell.value:+.0f} points"
    return text if cell.low is None or cell.high is None else f"{text} [{100 * cell.low:.0f}, {100 * cell.high:.0f}]"


def _doubt(cell: Cell, p: float | None) -> str:
    """Why a difference whose interval leaves out 0 is a tie nevertheless."""
    outside = (cell.low or 0) > 0 or (cell.high or 0) < 0
    return f", but p {p:.2f} after Holm's correction" if outside and p is not None else ""


def _cost(systems: Mapping[str, Row], steps: Sequence[tuple[str, str]]) -> str:
    """`perplexity on human replies, where lower is better, went from 29.8 (SFT) to 31.2 (PPO), no clear difference`."""
    parts = []
    for system, than in steps:
        new, old = (systems[name].cells.get("perplexity", Cell(None)) for name in (system, than))
        if new.value is None or old.value is None:
            continue
        verdict = "no clear difference"
        if None not in (new.low, new.high, old.low, old.high):
            verdict = "clearly higher" if (new.low or 0) > (old.high or 0) else verdict
            verdict = "clearly lower" if (new.high or 0) < (old.low or 0) else verdict
        parts.append(f"from {old.show(1)} ({_NAMES[than]}) to {new.show(1)} ({_NAMES[system]}), {verdict}")
    if not parts:
        return "what this cost in perplexity was not measured"
    return f"perplexity on human replies, where lower is better, went {'; '.join(parts)}"


def _alone(systems: Mapping[str, Row]) -> list[str]:
    """What is said where no system was compared with another."""
    names = " and ".join(_NAMES.get(name, name) for name in systems)
    were = "was" if len(systems) == 1 else "were"
    why = "so there is nothing to compare it with" if len(systems) == 1 else "but no two of them were compared"
    found = []
    for name, row in systems.items():
        metric = next((m for m in HEADLINES if row.cells.get(m, Cell(None)).value is not None), None)
        if metric:
            cell = row.cells[metric]
            known = "" if cell.low is None or cell.high is None else f" [{cell.low:.0%}, {cell.high:.0%}]"
            found.append(f"{_NAMES.get(name, name)} is {HEADLINES[metric]} in {cell.value:.0%}{known} of its replies")
    return [_sentence(text) for text in (f"only {names} {were} evaluated, {why}", "; ".join(found)) if text]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
