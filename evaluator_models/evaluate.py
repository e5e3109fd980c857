"""How good the judge is on pairs it was not trained on, where it fails, and from which probability on a reply counts as
contradicted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluator_models.settings import WHAT
from selfsame.metrics.judge import Judge
from selfsame.metrics.statistics import Bootstrap
from selfsame.ratings.judge_accuracy import judge_pairs
from selfsame.ratings.rows import read_pairs
from selfsame.text.contradictions import negated, opposite_words
from selfsame.text.keywords import NUMBER_WORDS, TraitMatcher, content_stems, words
from selfsame.text.violations import claims
from selfsame.types import LABELS, Example, LabelledPair

FALSE_ALARMS = 0.05
"""Share of what people really said that may count as contradicted."""


def held_out(judge: Judge, work: Path) -> dict[str, dict[str, Any]]:
    """Balanced accuracy, recalls and confusion on each held-out set."""
    found = {}
    for name in WHAT:
        rows, _ = read_pairs(work / f"{name}.jsonl")
        result = judge_pairs(judge, rows, Bootstrap())
        kept = ("rows", "missing", "balanced_accuracy", "recall", "confusion")
        found[name] = {key: result[key] for key in kept}
    return found


def errors(judge: Judge, work: Path, name: str = "decode_turns") -> dict[str, dict[str, float]]:
    """Of each type of contradiction: how many there are, and how many the judge finds. A pair can be of several types."""
    rows = [row for row in read_pairs(work / f"{name}.jsonl")[0] if row.label == LABELS[0]]
    found_N = (
        judge.probabilities([(row.premise, row.hypothesis) for row in rows])[:, 0] > 0.5
    )  # as `judge_pairs` asks it
    counts: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for row, hit in zip(rows, found_N, strict=True):
        for kind in kinds_of(row):
            counts[kind] += 1
            hits[kind] += bool(hit)
    return {kind: {"pairs": count, "found": hits[kind] / count} for kind, count in counts.most_common()}


def kinds_of(row: LabelledPair) -> list[str]:
    """What the words of a contradiction show of how it contradicts."""
    one, other = words(row.premise), words(row.hypothesis)
    shared = set(content_stems(row.premise)) & set(content_stems(row.hypothesis))
    kinds = {
        "no content word in common": not shared,
        "one side is negated": negated(one) != negated(other),
        "opposite words": opposite_words(one, other),
        "both name numbers": all(any(w.isdigit() or w in NUMBER_WORDS for w in side) for side in (one, other)),
        "a side is longer than 25 words": max(len(one), len(other)) > 25,
        "a side is a question": row.premise.strip().endswith("?") or row.hypothesis.strip().endswith("?"),
    }
    return [name for name, is_so in kinds.items() if is_so] or ["common topic, neither negated nor opposite words"]


def choose_threshold(judge: Judge, examples: Sequence[Example], count: int) -> float:
    """The probability that in `FALSE_ALARMS` of what people said where they drew on a trait (own turns against their persona
    and earlier turns) is reached by any pair. `examples`: people that the judge was not trained on, and that nothing is
    reported of; `count`: replies of theirs that are looked at."""
    matcher = TraitMatcher([t for e in examples for t in (*e.persona, *e.turns)])
    sites = [(e, k) for e in examples for k, reply in enumerate(e.replies) if matcher.drawn(e.persona, reply)]
    chosen = [sites[i] for i in np.random.default_rng(0).permutation(len(sites))[:count]]
    pairs = [claims(e.persona, e.turns[: 2 * k + 1], e.replies[k]) for e, k in chosen]
    found = iter(judge.probabilities([pair for own in pairs for pair in own])[:, 0])
    highest = [max((float(next(found)) for _ in own), default=0.0) for own in pairs]
    return float(np.quantile(np.nan_to_num(highest), 1 - FALSE_ALARMS))


def at_threshold(judge: Judge, work: Path) -> dict[str, dict[str, float]]:
    """Of each kind of pair in each held-out set, the share that counts as contradicted where `evaluate` asks."""
    shares: dict[str, dict[str, float]] = {}
    for name in WHAT:
        found: dict[str, list[bool]] = {}
        lines = [json.loads(line) for line in (work / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        said_N = judge.probabilities([(row["premise"], row["hypothesis"]) for row in lines])[:, 0] >= judge.threshold
        for row, said in zip(lines, said_N, strict=True):
            kind = row["kind"] if row["kind"] != "prosecco" else row["label"]
            found.setdefault(kind, []).append(bool(said))
        shares[name] = {kind: sum(values) / len(values) for kind, values in found.items()}
    return shares


def write_record(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
