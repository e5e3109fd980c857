"""Two systems on the same prompts: paired differences, which see far smaller effects than two separate intervals, and for
yes/no scores McNemar's exact test.

Several comparisons are made at once (metrics, pairs of systems), and of twenty ties one would look like a difference at
5 %. So the p-values are corrected (Holm 1979): those of *in character*, the primary score, for each other alone, and those
of all other scores together. A false alarm has a chance of at most 5 % in each of the two families. A difference of a
yes/no score counts only where its interval excludes 0 and the corrected p-value is below 1 - confidence. McNemar's test
takes prompts as independent, the interval resamples whole dialogues: each sees what the other does not. Scores that are no
yes or no have the interval alone, which is not corrected."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from selfsame.metrics.statistics import Bootstrap, holm, mcnemar
from selfsame.run.comparisons import PRIMARY, ComparisonRecord
from selfsame.run.records import EvaluationRecord
from selfsame.systems import PAIRS


class Scored(Protocol):
    """A reply's dialogue and its scores; None is a score that could not be given."""

    @property
    def dialogue(self) -> Hashable: ...

    @property
    def scores(self) -> Mapping[str, float | None]: ...


@dataclass(frozen=True)
class ScoredReply:
    """A `Scored` of its own, where no evaluation has recorded the reply."""

    dialogue: Hashable
    scores: Mapping[str, float | None]


Paired = tuple[str, str, Sequence[Scored], Sequence[Scored]]
"""(system, system it is compared with, and the replies of both to the same prompts in the same order)."""


NOT_COMPARED = ("copying",)
"""Scores that are to be read with the gold replies' own rate: neither higher nor lower is better."""


def compare_systems(
    records: Mapping[str, EvaluationRecord], bootstrap: Bootstrap, pairs: Sequence[tuple[str, str]] = PAIRS
) -> list[ComparisonRecord]:
    """Differences of the scores that both systems' evaluations hold reply by reply.

    Args:
        records: what `evaluate_system` returned, by system.
        bootstrap: how intervals are made (over dialogues).
        pairs: (system, system it is compared with); those that are not both there are passed over.

    Returns:
        see `compare_replies`.
    """
    there = [(one, other, records[one], records[other]) for one, other in pairs if one in records and other in records]
    talks = [(one, other, ours.talk, theirs.talk) for one, other, ours, theirs in there]
    return compare_replies(
        [*talks, *((one, other, ours.replies, theirs.replies) for one, other, ours, theirs in there)], bootstrap
    )


def compare_replies(pairs: Sequence[Paired], bootstrap: Bootstrap) -> list[ComparisonRecord]:
    """Differences of every score of each pair of systems.

    Returns:
        differences with p-values of McNemar's exact test before and after Holm's correction, and how many prompts only one
        of the two hits; all four None where the scores are no yes or no. The verdict is "higher", "lower", "tie", or
        "unknown" where there is no interval (see the module).
    """
    found = [
        compare_scores(ours, theirs, metric, bootstrap).between(system, than)
        for system, than, ours, theirs in pairs
        for metric in (ours[0].scores if ours and theirs else ())
        if metric in theirs[0].scores and metric not in NOT_COMPARED
    ]
    return with_verdicts(found, bootstrap)


def with_verdicts(found: Sequence[ComparisonRecord], bootstrap: Bootstrap) -> list[ComparisonRecord]:
    """Differences with `p_corrected` (Holm, in two families: see the module), `tests` and `verdict` added."""
    tested = [record.model_copy(update={"p_corrected": None}) for record in found]
    for of_primary in (True, False):
        family = {k: r.p for k, r in enumerate(found) if r.p is not None and (r.metric == PRIMARY) == of_primary}
        corrected = holm([*family.values()])
        count = sum(not math.isnan(p) for p in corrected)
        for k, p in zip(family, corrected, strict=True):
            tested[k] = found[k].model_copy(update={"p_corrected": p, "tests": count})
    level = 1 - bootstrap.confidence
    verdicts = [verdict(record.low, record.high, record.p_corrected, level) for record in tested]
    return [record.model_copy(update={"verdict": found}) for record, found in zip(tested, verdicts, strict=True)]


def compare_scores(
    ours: Sequence[Scored], theirs: Sequence[Scored], metric: str, bootstrap: Bootstrap
) -> ComparisonRecord:
    """The difference in one score, without names and verdict; see `compare_replies`."""
    one, other = scores_of(ours, metric), scores_of(theirs, metric)
    difference = asdict(bootstrap.difference(one, other, [row.dialogue for row in ours]))
    if not all(score in (0.0, 1.0) or math.isnan(score) for score in (*one, *other)):
        return ComparisonRecord(metric=metric, **difference, p=None, only_system=None, only_than=None)
    test: dict[str, Any] = mcnemar(one, other)
    hits = {"p": test["p"], "only_system": test["only_one"], "only_than": test["only_other"]}
    return ComparisonRecord(metric=metric, **difference, **hits)


def scores_of(rows: Sequence[Scored], metric: str) -> list[float]:
    """One score of each reply, NaN where there is none."""
    found = [row.scores[metric] for row in rows]
    return [math.nan if score is None else score for score in found]


def verdict_of(record: Mapping[str, Any], level: float) -> str:
    """The `verdict` of a difference that is plain data (`low`, `high`, `p_corrected`), as benchmarks write theirs."""
    return verdict(record["low"], record["high"], record["p_corrected"], level)


def verdict(low: float | None, high: float | None, p: float | None, level: float) -> str:
    """Say what the interval and the corrected p-value say together. `level`: from which p on a difference is a tie."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "unknown"
    if p is not None and not p < level:
        return "tie"
    return "higher" if low > 0 else "lower" if high < 0 else "tie"
