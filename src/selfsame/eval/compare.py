"""Two systems on the same prompts: paired differences, which see far smaller effects than two separate intervals, and for
yes/no scores McNemar's exact test beside them.

Several comparisons are made at once (metrics, pairs of systems), and of twenty ties one would look like a difference at
5 %. So the p-values are corrected for all comparisons of a run (Holm 1979), and a difference of a yes/no score counts
only where its interval excludes 0 and the corrected p-value is below 1 - confidence. McNemar's test takes prompts as
independent, the interval resamples whole dialogues: each sees what the other does not. Scores that are no yes or no have
the interval alone, which is not corrected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selfsame.eval.statistics import Bootstrap, holm, mcnemar

PAIRS = (("sft", "base"), ("ppo", "sft"), ("dpo", "sft"))
"""Which system is compared with which: each stage with the one that it started from."""
Scored = Mapping[str, Any]
"""A reply's `dialogue` and its `scores`; None is a score that could not be given."""
Paired = tuple[str, str, Sequence[Scored], Sequence[Scored]]
"""(system, system it is compared with, and the replies of both to the same prompts in the same order)."""


def compare_systems(
    records: Mapping[str, Mapping[str, Any]], bootstrap: Bootstrap, pairs: Sequence[tuple[str, str]] = PAIRS
) -> list[dict[str, Any]]:
    """Differences of the scores that both systems' evaluations hold reply by reply.

    Args:
        records: what `evaluate_system` returned, by system.
        bootstrap: how intervals are made (over dialogues).
        pairs: (system, system it is compared with); those that are not both there are passed over.

    Returns:
        see `compare_replies`.
    """
    there = [(one, other) for one, other in pairs if one in records and other in records]
    return compare_replies(
        [(one, other, records[one]["replies"], records[other]["replies"]) for one, other in there], bootstrap
    )


def compare_replies(pairs: Sequence[Paired], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """Differences of every score of each pair of systems; the p-values are corrected for all of them together.

    Returns:
        `{system, than, metric, verdict, value, low, high, count, missing, p, p_corrected, only_system, only_than}` each:
        p-values of McNemar's exact test before and after Holm's correction, and how many prompts only one of the two
        hits; all four None where the scores are no yes or no. The verdict is "higher", "lower", "tie", or "unknown"
        where there is no interval (see the module).
    """
    found = [
        {"system": system, "than": than, "metric": metric} | _compare(ours, theirs, metric, bootstrap)
        for system, than, ours, theirs in pairs
        for metric in (ours[0]["scores"] if ours else ())
    ]
    corrected = holm([math.nan if record["p"] is None else record["p"] for record in found])
    for record, p in zip(found, corrected, strict=True):
        record["p_corrected"] = None if record["p"] is None else p
        record["verdict"] = _verdict(record, 1 - bootstrap.confidence)
    return found


def _compare(ours: Sequence[Scored], theirs: Sequence[Scored], metric: str, bootstrap: Bootstrap) -> dict[str, Any]:
    one, other = _scores(ours, metric), _scores(theirs, metric)
    difference = bootstrap.difference(one, other, [row["dialogue"] for row in ours])
    if not all(score in (0.0, 1.0) or math.isnan(score) for score in (*one, *other)):
        return difference.to_dict() | dict.fromkeys(("p", "only_system", "only_than"))
    test = mcnemar(one, other)
    hits = {"p": test["p"], "only_system": test["only_one"], "only_than": test["only_other"]}
    return difference.to_dict() | hits


def _scores(rows: Sequence[Scored], metric: str) -> list[float]:
    return [math.nan if row["scores"][metric] is None else row["scores"][metric] for row in rows]


def _verdict(record: Mapping[str, Any], level: float) -> str:
    low, high, p = record["low"], record["high"], record["p_corrected"]
    if math.isnan(low) or math.isnan(high):
        return "unknown"
    if p is not None and not p < level:
        return "tie"
    return "higher" if low > 0 else "lower" if high < 0 else "tie"
