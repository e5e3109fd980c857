"""What judge and ranker score, as Markdown from their records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluator_models.settings import WHAT
from selfsame.metrics.statistics import show_estimate
from selfsame.run.files import read_json


def markdown(folder: Path) -> str:
    """Tables from `judge/judge.json` and `ranker/ranker.json` in the folder."""
    judge, ranker = read_json(folder / "judge" / "judge.json"), read_json(folder / "ranker" / "ranker.json")
    return "\n\n".join([_accuracy(judge), _types(judge), _threshold(judge), _ranker(ranker)])


def _accuracy(record: dict[str, Any]) -> str:
    lines = [
        "| held-out pairs | pairs | balanced accuracy | contradictions found | rules: accuracy | contradictions found |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, ours in record["held_out"].items():
        rules = record["rules"][name]
        cells = [f"`{name}`: {WHAT[name]}", str(ours["rows"])]
        for result in (ours, rules):
            cells += [show_estimate(result["balanced_accuracy"]), show_estimate(result["recall"]["contradiction"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _types(record: dict[str, Any]) -> str:
    lines = ["| type of contradiction (`decode_turns`) | pairs | found |", "|---|---:|---:|"]
    lines += [f"| {kind} | {part['pairs']} | {part['found']:.2f} |" for kind, part in record["found"].items()]
    return "\n".join(lines)


def _threshold(record: dict[str, Any]) -> str:
    lines = [
        f"`evaluate` counts a pair as a contradiction from a probability of {record['threshold']:.3f} on. By kind of pair:",
        "",
        "| held-out pairs | share that counts as contradicted |",
        "|---|---|",
    ]
    for name, kinds in record["contradicted_at_threshold"].items():
        lines.append(f"| `{name}` | " + ", ".join(f"{kind} {share:.3f}" for kind, share in kinds.items()) + " |")
    return "\n".join(lines)


def _ranker(record: dict[str, Any]) -> str:
    reasons = sorted({reason for part in record["held_out"].values() for reason in part})
    head = "| ranker: pairs ranked rightly | " + " | ".join(reasons) + " |"
    lines = [head, "|---|" + "---:|" * len(reasons)]
    for name, part in record["held_out"].items():
        cells = [f"{part[reason]:.2f}" if reason in part else "–" for reason in reasons]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
