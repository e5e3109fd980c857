"""Accuracy of a judge of contradictions: its answers against labelled pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from selfsame.metrics.judge import Judge, judge_summary
from selfsame.metrics.statistics import Bootstrap, show_estimate
from selfsame.types import LABELS, LabelledPair


def judge_pairs(judge: Judge, rows: Sequence[LabelledPair], bootstrap: Bootstrap) -> dict[str, Any]:
    """A judge against labels.

    Returns:
        `{judge, rows, missing, balanced_accuracy, accuracy, recall: {label: estimate}, confusion: {label: {said: count}},
        held_out}`; balanced accuracy is the mean recall of the labels that occur, whatever their counts; pairs about which
        the judge says nothing are missing, never wrong. Where neutral or entailed pairs do not occur, the question is
        whether a pair is a contradiction or not: the two probabilities count as one.
    """
    found_N3 = _among(judge.probabilities([(row.premise, row.hypothesis) for row in rows]), {row.label for row in rows})
    said = [None if np.isnan(p).any() else LABELS[int(np.argmax(p))] for p in found_N3]
    known = [(row, label) for row, label in zip(rows, said, strict=True) if label is not None]
    groups, missing = [row.group for row, _ in known], len(rows) - len(known)
    counts_N6 = [_recall_counts(row.label, label) for row, label in known]

    def recall(column: int) -> dict[str, Any]:
        part = [(c[column], c[3 + column], g) for c, g in zip(counts_N6, groups, strict=True) if c[3 + column]]
        return bootstrap.share([hit for hit, *_ in part], [group for *_, group in part]).to_dict()

    hits = [float(row.label == label) for row, label in known]
    return {
        "judge": judge.name,
        "rows": len(rows),
        "missing": missing,
        "balanced_accuracy": bootstrap.of_sums(np.reshape(counts_N6, (-1, 6)), _balanced, groups, missing).to_dict(),
        "accuracy": bootstrap.share(hits, groups).to_dict() | {"missing": missing},
        "recall": {label: recall(k) for k, label in enumerate(LABELS)},
        "confusion": {
            true: {label: sum(row.label == true and s == label for row, s in known) for label in LABELS}
            for true in LABELS
        },
        "held_out": judge_summary(judge)["balanced_accuracy"],
    }


def _among(found_N3: np.ndarray, labels: set[str]) -> np.ndarray:
    """Probabilities with those of neutral and entailment added up under the one of them that occurs alone."""
    alone = labels & set(LABELS[1:])
    if len(alone) != 1:
        return found_N3
    k = LABELS.index(alone.pop())
    merged_N3 = np.zeros_like(found_N3)
    merged_N3[:, 0], merged_N3[:, k] = found_N3[:, 0], found_N3[:, 1:].sum(1)
    return merged_N3


def _recall_counts(label: str, said: str) -> list[float]:
    """Three hits and three counts, by label."""
    return [float(label == one == said) for one in LABELS] + [float(label == one) for one in LABELS]


def _balanced(sums: np.ndarray) -> Any:
    hits, counts = sums[..., :3], sums[..., 3:]
    there = counts > 0
    shares = np.where(there, hits / np.where(there, counts, 1.0), 0.0)
    return shares.sum(-1) / there.sum(-1)


def judge_text(result: dict[str, Any]) -> str:
    """As plain text."""
    lines = [f"{result['judge']}: {result['rows']} pairs, {result['missing']} about which it says nothing"]
    for name in ("balanced_accuracy", "accuracy"):
        lines.append(f"{name.replace('_', ' ')}: {show_estimate(result[name])}")
    lines += [
        f"recall of {label}: {show_estimate(estimate)} n={estimate['count']}"
        for label, estimate in result["recall"].items()
    ]
    width = max(map(len, LABELS))
    lines += ["", " ".join([" " * (width + 9), *(f"{label:>{width}}" for label in LABELS)])]
    for true, said in result["confusion"].items():
        lines.append(" ".join([f"label {true:<{width}}  ", *(f"{said[label]:>{width}}" for label in LABELS)]))
    known = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in result["held_out"].items())
    known = known or "not known: compare with labelled pairs first"
    return "\n".join([*lines, "", f"balanced accuracy of this judge on pairs held out from it: {known}"])
