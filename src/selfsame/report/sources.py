"""What numbers rest on, a line each: the reward model, the judge of contradictions, the reader of sense."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from selfsame.run.comparisons import PRIMARY, ComparisonRecord
from selfsame.run.records import JudgeRecord, ReaderRecord, RewardRecord

UNKNOWN = "–"


def finite(value: Any) -> float | None:
    """A number as it is; None for what is none, or not finite."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None


def correction_of(records: Sequence[ComparisonRecord]) -> str:
    """Say for which tests the p-values of comparisons were corrected; nothing where nothing was tested."""
    tested = [record for record in records if finite(record.p_corrected) is not None]
    families = {record.metric == PRIMARY: record.tests for record in tested if record.tests}
    if len(families) == 2:
        return (
            f"corrected (Holm) in two families: {families[True]} of in character, {families[False]} of all other scores"
        )
    if len(tested) < 2:
        return "a single test" if tested else ""
    return f"corrected for all {len(tested)} tests here (Holm)"


def test_note(records: Sequence[ComparisonRecord], test: str = "McNemar's exact test") -> str:
    """What p is in a list of comparisons; nothing where nothing was tested."""
    correction = correction_of(records)
    return correction and (
        f"p: {test}; {correction}. Yes/no scores are higher or lower only where the interval excludes 0 and p is small too;"
        " intervals are not corrected."
    )


def reader_line(record: ReaderRecord) -> str:
    """Which model says what is well formed and answers, how often it is wrong, and what it shares with the model it judges."""
    shared = "; it stands on the same base as the model it judges" if record.shares_base else ""
    wrong = [finite(share) for share in (record.people_malformed, record.people_unanswering, record.others_answering)]
    if None in wrong:
        return f"Sense is read by {record.name}{shared}; too few of people's turns to say how often it is wrong."
    return (
        f"Sense is read by {record.name}{shared}; of people's {record.turns} turns it calls {wrong[0]:.0%} malformed and"
        f" {wrong[1]:.0%} no answer, of replies to other turns it lets {wrong[2]:.0%} pass as an answer."
    )


def judge_line(record: JudgeRecord, percent: bool = False) -> str:
    """Name the judge of contradictions and how often it is right; `percent`: as the pages write shares."""
    if record.unknown_language:
        return (
            f"The replies are in the language {record.unknown_language!r}, and {record.name} was trained on English:"
            " contradictions, fitted quality and overall are missing; consistency and in character count without"
            " contradictions. An NLI model that knows the language judges them: --judge, or evaluation.judge."
        )
    accuracies = record.balanced_accuracy.items()
    known = ", ".join(f"{name.replace('_', ' ')} {_share(value, 2, percent)}" for name, value in accuracies)
    accuracy = f"balanced accuracy on held-out pairs: {known}" if known else "its accuracy is not known"
    return f"Contradictions are judged by {record.name} ({accuracy})."


def reward_line(record: RewardRecord, percent: bool = False) -> str:
    """Say how many held-out pairs the reward model ranks correctly; `percent`: as the pages write shares."""
    by_reason = {n.partition("/")[2].replace("_", " "): v for n, v in record.metrics.items() if "/" in n}
    reasons = ", ".join(f"{name} {_share(value, 2, percent)}" for name, value in by_reason.items())
    accuracy = _share(record.metrics["accuracy"], 3, percent)
    return f"Reward model: ranks {accuracy} of {record.pairs} held-out pairs correctly ({reasons})."


def _share(value: float | None, decimals: int, percent: bool) -> str:
    return UNKNOWN if value is None else f"{value:.0%}" if percent else f"{value:.{decimals}f}"
