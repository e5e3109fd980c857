"""What people said of the replies of two systems, as a win rate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from selfsame.errors import DataError
from selfsame.labels.label import Label
from selfsame.labels.votes import Verdict, agreement, last_said, verdicts
from selfsame.metrics.statistics import Bootstrap
from selfsame.run.compared import Preferred
from selfsame.run.named_runs import Recipes, System
from selfsame.types import Prompt

Recorded = Mapping[Prompt, set[str]]
"""Prompt -> the replies that evaluations recorded."""


def people_prefer(labels: Sequence[Label], recipes: Recipes, bootstrap: Bootstrap) -> tuple[list[Preferred], list[str]]:
    """How often people prefer each recipe to the first, over the questions about recorded replies of both.

    A label is about a system where one of its replies is what the system's evaluation recorded for the prompt. So labels of
    prompts that people typed, or that a run was trained on, are left out, and those of other runs of the same name.

    Args:
        labels: of any systems; the last answer of a person to a question counts.
        recipes: the systems compared.
        bootstrap: how intervals are made, over personas.

    Returns:
        (a record for each recipe that was labelled against the first, a line that says which labels were left out and why).
        `value` is the share of its wins, ties and both bad as halves. People do not see who replied, so there is no order
        that sways them; p is not computed.

    Raises:
        DataError: no label is about two of the systems.
    """
    (than, first), *others = ((name, _recorded(systems)) for name, systems in recipes.items())
    labels = last_said(labels)
    asked, found, counted = verdicts(labels), [], set[object]()
    for name, replies in others:
        leads = [(lead, verdict) for verdict in asked if (lead := _lead(verdict, replies, first)) is not None]
        if leads:
            won = [(lead > 0) + 0.5 * (lead == 0) for lead, _ in leads]
            share = bootstrap.share(won, [verdict.prompt.persona for _, verdict in leads])
            questions = {verdict.question() for _, verdict in leads}
            people = agreement(label for label in labels if label.question() in questions)
            counts = {n: won.count(value) for n, value in (("wins", 1.0), ("ties", 0.5), ("losses", 0.0))}
            record = Preferred(
                judge=f"people (labels {people})",
                prompts=len(leads),
                **counts,
                **asdict(share),
                swayed=None,
                p=None,
            )
            found.append(record.between(name, than))
            counted |= questions
    left_out = [label for label in labels if label.question() not in counted]
    known = {prompt for replies in (first, *(replies for _, replies in others)) for prompt in replies}
    why = _reasons(left_out, known)
    if not found:
        raise DataError(f"no label is about {than} and another of these systems: {why or 'there are no labels'}")
    return found, [f"Of {len(labels)} labels {len(left_out)} were left out: {why}."] if left_out else []


def _recorded(systems: Sequence[System]) -> Recorded:
    found: dict[Prompt, set[str]] = defaultdict(set)
    for system in systems:
        for row in (*system.evaluation.replies, *system.evaluation.talk):
            if len(row.history) % 2:
                found[Prompt(tuple(row.persona), tuple(row.history))].add(row.reply.strip())
    return found


def _lead(verdict: Verdict, ours: Recorded, theirs: Recorded) -> int | None:
    """Labellers for our reply less those for theirs; None where it is not clear that one is ours and the other theirs."""
    one, other = verdict.replies
    our, their = (recorded.get(verdict.prompt, set()) for recorded in (ours, theirs))
    signs = [sign for sign, a, b in ((1, one, other), (-1, other, one)) if a in our and b in their]
    return signs[0] * verdict.lead if len(signs) == 1 else None


def _reasons(left_out: Sequence[Label], known: set[Prompt]) -> str:
    """Why labels do not count, with the systems that they are about."""
    strange = sum(label.prompt not in known for label in left_out)
    names = sorted({name for label in left_out for name in label.by if name})
    reasons = {
        "of prompts that were not evaluated (typed, or to train on)": strange,
        "of replies that the evaluations did not record for two of these systems": len(left_out) - strange,
    }
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    return said and f"{said}; they are about {', '.join(names) or 'unknown systems'}"
