"""Two results of `selfsame benchmark convai2`, compared example by example."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selfsame.comparing.pairs import verdict_of
from selfsame.metrics.statistics import Bootstrap, Estimate, holm, mcnemar
from selfsame.tasks.convai2 import unpack


def compare_benchmarks(one: Mapping[str, Any], other: Mapping[str, Any], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """Differences `one - other` of two results of `selfsame benchmark convai2`, on the examples that both hold.

    Returns:
        `{metric, verdict, p, value, low, high, count, missing}` each, intervals over dialogues. `p` (hits only): McNemar's
        exact test, corrected by Holm for there being several; examples with a tie for the first place are missing from it.
        "higher" or "lower" only where the interval leaves out 0 and p, where there is one, is below .05; else "tie".
    """
    ours, theirs = ({row["line"]: row for row in unpack(result["examples"]["rows"])} for result in (one, other))
    lines = [line for line in ours if line in theirs]
    pairs = [(ours[line], theirs[line]) for line in lines]
    dialogues = [a["dialogue"] for a, _ in pairs]
    found: list[tuple[str, Estimate, float]] = []
    for metric in ("hits_at_1", "hits_at_1_sum", "f1"):
        scores = [[row[metric] for row in side] for side in zip(*pairs, strict=True)] or [[], []]
        p = math.nan if metric == "f1" else mcnemar(*map(_untied, scores))["p"]
        found.append((metric, bootstrap.difference(scores[0], scores[1], dialogues), p))
    if all(a["bytes"] == b["bytes"] for a, b in pairs):  # else one of them reads another form of the text
        found.append(("bits_per_byte", _bits_per_byte(pairs, dialogues, bootstrap), math.nan))
    corrected = holm([p for *_, p in found])
    records = [
        {"metric": metric, "p": p} | e.to_dict() for (metric, e, _), p in zip(found, corrected, strict=True) if e.count
    ]
    for record in records:
        tested = record | {"p_corrected": None if math.isnan(record["p"]) else record["p"]}
        record["verdict"] = verdict_of(tested, 1 - bootstrap.confidence)
    return records


def _untied(hits: Sequence[float]) -> list[float]:
    return [hit if hit in (0.0, 1.0) else math.nan for hit in hits]


def _bits_per_byte(
    pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]], dialogues: Sequence[float], bootstrap: Bootstrap
) -> Estimate:
    nats = [a["nats"] + a["end_nats"] - b["nats"] - b["end_nats"] for a, b in pairs]
    known = [k for k, value in enumerate(nats) if not math.isnan(value)]
    bits, bytes_ = [nats[k] / math.log(2) for k in known], [pairs[k][0]["bytes"] for k in known]
    return bootstrap.ratio(bits, bytes_, groups=[dialogues[k] for k in known], missing=len(nats) - len(known))


def comparison_text(found: Sequence[Mapping[str, Any]]) -> str:
    """As plain text."""
    lines = []
    for row in found:
        p = "" if math.isnan(row["p"]) else f", McNemar's p (Holm) {row['p']:.2g}"
        interval = "" if math.isnan(row["low"]) else f" [{row['low']:+.3f}, {row['high']:+.3f}]"
        lines.append(f"{row['metric']}: {row['value']:+.3f}{interval} n={row['count']}{p}: {row['verdict']}")
    return "\n".join(lines)
