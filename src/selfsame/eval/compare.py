"""Two systems on the same prompts: paired differences, which see far smaller effects than two separate intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selfsame.eval.convai2 import unpack
from selfsame.eval.statistics import Bootstrap, Estimate, holm, mcnemar

PAIRS = (("sft", "base"), ("ppo", "sft"), ("dpo", "sft"))
"""Which system is compared with which: each stage with the one that it started from."""


def compare_systems(
    records: Mapping[str, Mapping[str, Any]], bootstrap: Bootstrap, pairs: Sequence[tuple[str, str]] = PAIRS
) -> list[dict[str, Any]]:
    """Differences of the scores that both systems' evaluations hold reply by reply.

    Args:
        records: what `evaluate_system` returned, by system.
        bootstrap: how intervals are made (over dialogues).
        pairs: (system, system it is compared with); those that are not both there are passed over.

    Returns:
        `{system, than, metric, verdict, value, low, high, count, missing}` each; the verdict is "higher", "lower", "tie"
        where the interval holds 0, or "unknown" where there is none.
    """
    found = []
    for system, than in pairs:
        if system not in records or than not in records:
            continue
        ours, theirs = records[system]["replies"], records[than]["replies"]
        groups = [row["dialogue"] for row in ours]
        for metric in ours[0]["scores"] if ours else ():
            difference = bootstrap.difference(_scores(ours, metric), _scores(theirs, metric), groups)
            verdict = _verdict(difference.low, difference.high)
            found.append({"system": system, "than": than, "metric": metric, "verdict": verdict} | difference.to_dict())
    return found


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
    return [
        {"metric": metric, "verdict": _verdict(e.low, e.high) if not p >= 0.05 else "tie", "p": p} | e.to_dict()
        for (metric, e, _), p in zip(found, corrected, strict=True)
        if e.count
    ]


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


def _scores(rows: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    return [math.nan if row["scores"][metric] is None else row["scores"][metric] for row in rows]


def _verdict(low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return "unknown"
    return "higher" if low > 0 else "lower" if high < 0 else "tie"
