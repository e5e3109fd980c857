"""Recipes on the same prompts, each one run or several that differ in their seed: what was measured alike, and paired
differences.

Where a recipe has several runs, a prompt's score is the mean over them, and the interval says what other seeds *and* other
dialogues could have given. Every run answered every prompt, so the variance of the difference is that of two-way clusters
(Cameron, Gelbach and Miller 2011): one part from how the dialogues differ, and one from how the runs do. Their common part
is not taken off, which makes the interval rather too wide than too narrow (as in Owen's pigeonhole bootstrap, 2007). Two to
five seeds are too few to resample; the interval is Student's with the degrees of freedom of Welch and Satterthwaite
(1946), so few seeds make it wide. A single run beside a recipe is taken to vary with its seed as much as that recipe does
(Crawford and Howell 1998)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import special

from selfsame.comparing.pairs import NOT_COMPARED, compare_scores, scores_of
from selfsame.metrics.statistics import Bootstrap, Estimate
from selfsame.run.comparisons import ComparisonRecord
from selfsame.run.records import EvaluationRecord, Metrics, ReplyRecord

Part = Literal["talk", "replies"]
"""Prompts from anywhere in dialogues, or those that call for the persona."""
_CHARACTER = ("in_character", "in_character_grounded", "in_character_other")
_JUDGED = ("consistency", "sensible_consistency", "contradiction", *_CHARACTER)
_READ = ("sensible_consistency", "well_formed", "answers", *_CHARACTER)
_ALIKE = 0.01  # between machines, a judge may flip one gold reply of a hundred


def on_shared_prompts(runs: Sequence[Sequence[ReplyRecord]]) -> list[list[ReplyRecord]]:
    """The replies of each run to the prompts that all of them answered, in the order of the first run. Prompts are the same
    where dialogue, persona and history are."""
    by_prompt = [_by_prompt(replies) for replies in runs]
    shared = [prompt for prompt in by_prompt[0] if all(prompt in found for found in by_prompt)]
    return [[found[prompt] for prompt in shared] for found in by_prompt]


def not_comparable(records: Sequence[EvaluationRecord], part: Part = "replies") -> dict[str, str]:
    """Score -> why these evaluations did not measure it alike: it is missing from one of them, the judge or the reader is
    another, or the gold replies to the same prompts got another value."""
    found, answers = {}, [replies_of(record, part) for record in records]
    scores = [set(replies[0].scores) if replies else set() for replies in answers]
    golds: list[Metrics] = [record.references.get("gold", {}) for record in records]
    same = {frozenset(_by_prompt(replies)) for replies in answers}
    readers = {record.reader.name if record.reader else None for record in records}
    for name in dict.fromkeys(name for replies in answers for reply in replies[:1] for name in reply.scores):
        measured = [gold[name].value for gold in golds if name in gold]
        values = [value for value in measured if value is not None]
        if name in NOT_COMPARED:
            continue
        if any(name not in there for there in scores):
            found[name] = "not measured in all of them"
        elif name in _JUDGED and any(record.judge != records[0].judge for record in records):
            found[name] = "scored by different judges"
        elif name in _READ and len(readers) > 1:
            found[name] = "read by different readers"
        elif len(same) == 1 and values and max(values) - min(values) > _ALIKE:
            found[name] = "measured by other rules: the same gold replies got another value"
    return found


@dataclass(frozen=True)
class Differences:
    """Two recipes on the prompts that all their runs answered.

    Attributes:
        prompts: how many those are.
        most: prompts of the run that has most.
        left_out: score -> why it is not compared.
        found: a difference for each other score, without names and verdict.
    """

    prompts: int
    most: int
    left_out: dict[str, str]
    found: list[ComparisonRecord]


def compare_recipes(
    ours: Sequence[EvaluationRecord],
    theirs: Sequence[EvaluationRecord],
    bootstrap: Bootstrap,
    part: Part = "replies",
) -> Differences:
    """Differences `ours - theirs` of every score that was measured alike, on the prompts of a part that all runs answered.

    They hold `wins`, `ties` and `losses` in prompts; with several runs also `runs` (of either), `lowest` and `highest` (the
    difference of any two of them). p: McNemar's exact test for two single runs (None where scores are no yes or no), else
    Student's.
    """
    records = [*ours, *theirs]
    answers = [replies_of(record, part) for record in records]
    rows, left_out = on_shared_prompts(answers), not_comparable(records, part)
    known = rows[0][0].scores if rows[0] else ()
    names = [name for name in known if name not in left_out and name not in NOT_COMPARED]
    one, other = rows[: len(ours)], rows[len(ours) :]
    return Differences(
        prompts=len(rows[0]),
        most=max(map(len, answers)),
        left_out=left_out,
        found=[_difference(one, other, name, bootstrap) for name in names],
    )


def replies_of(record: EvaluationRecord, part: Part) -> list[ReplyRecord]:
    """The replies of one part; records of earlier versions hold none in `talk`."""
    return record.talk if part == "talk" else record.replies


def _by_prompt(replies: Sequence[ReplyRecord]) -> dict[Any, ReplyRecord]:
    times: Counter[Any] = Counter()
    found = {}
    for row in replies:
        prompt = (row.dialogue, tuple(row.persona), tuple(row.history))
        found[prompt, times[prompt]] = row  # the same prompt twice is two prompts
        times[prompt] += 1
    return found


def _difference(
    ours: Sequence[Sequence[ReplyRecord]], theirs: Sequence[Sequence[ReplyRecord]], metric: str, bootstrap: Bootstrap
) -> ComparisonRecord:
    one_SP, other_SP = (np.array([scores_of(rows, metric) for rows in runs]) for runs in (ours, theirs))
    by_prompt_P = one_SP.mean(0) - other_SP.mean(0)
    count = {"wins": by_prompt_P > 0, "ties": by_prompt_P == 0, "losses": by_prompt_P < 0}
    counts: dict[str, Any] = {name: int(there.sum()) for name, there in count.items()}
    if len(ours) == len(theirs) == 1:
        return compare_scores(ours[0], theirs[0], metric, bootstrap).model_copy(update=counts)
    known_P = ~np.isnan(by_prompt_P)
    dialogues = [row.dialogue for row, known in zip(ours[0], known_P, strict=True) if known]
    missing = len(known_P) - len(dialogues)
    if not dialogues:
        unknown = asdict(Estimate(math.nan, math.nan, math.nan, 0, missing))
        return ComparisonRecord(metric=metric, **unknown, **counts, p=None)
    one_S, other_S = one_SP[:, known_P].mean(1), other_SP[:, known_P].mean(1)
    found, p = two_way(by_prompt_P[known_P], dialogues, one_S, other_S, bootstrap.confidence)
    return ComparisonRecord(
        metric=metric,
        **asdict(replace(found, missing=missing)),
        p=p,
        **counts,
        runs=[len(ours), len(theirs)],
        lowest=float(one_S.min() - other_S.max()),
        highest=float(one_S.max() - other_S.min()),
    )


def two_way(
    by_prompt_P: np.ndarray, dialogues: Sequence[str], one_S: np.ndarray, other_S: np.ndarray, confidence: float = 0.95
) -> tuple[Estimate, float]:
    """(mean difference with an interval over seeds and dialogues, Student's two-sided p; NaN for a single dialogue).

    Args:
        by_prompt_P: differences, prompt by prompt, of the means over the runs.
        dialogues: which prompts belong together.
        one_S: mean of each run of one side.
        other_S: of the other; at least one of the two has several runs.
        confidence: how often the interval is to hold the truth.
    """
    value, groups = float(by_prompt_P.mean()), list(dict.fromkeys(dialogues))
    sums_G = np.zeros(len(groups))
    np.add.at(sums_G, [groups.index(name) for name in dialogues], by_prompt_P - value)
    if len(groups) < 2:
        return Estimate(value, math.nan, math.nan, len(by_prompt_P)), math.nan
    of_dialogues = len(groups) / (len(groups) - 1) * float((sums_G**2).sum()) / len(by_prompt_P) ** 2
    parts = [(of_dialogues, len(groups) - 1), *_of_seeds(one_S, other_S)]
    variance = sum(part for part, _ in parts)
    if not variance:
        return Estimate(value, value, value, len(by_prompt_P)), float(value == 0)
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    width = float(special.stdtrit(freedom, 0.5 + confidence / 2)) * math.sqrt(variance)
    p = 2 * float(special.stdtr(freedom, -abs(value) / math.sqrt(variance)))
    return Estimate(value, value - width, value + width, len(by_prompt_P)), p


def _of_seeds(one_S: np.ndarray, other_S: np.ndarray) -> list[tuple[float, int]]:
    """(variance of a mean over seeds, degrees of freedom); a single run has the variance of the other side."""
    several = [runs for runs in (one_S, other_S) if len(runs) > 1]
    if len(several) == 1:
        spread = float(several[0].var(ddof=1))
        return [(spread / len(one_S) + spread / len(other_S), len(several[0]) - 1)]
    return [(float(runs.var(ddof=1)) / len(runs), len(runs) - 1) for runs in several]
