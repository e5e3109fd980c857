"""Two systems on the same prompts: paired differences, which see far smaller effects than two separate intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selfsame.eval.statistics import Bootstrap

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


def _scores(rows: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    return [math.nan if row["scores"][metric] is None else row["scores"][metric] for row in rows]


def _verdict(low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return "unknown"
    return "higher" if low > 0 else "lower" if high < 0 else "tie"
