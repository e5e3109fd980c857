"""What people said of the replies of two systems, as a win rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from selfsame.errors import DataError
from selfsame.labels.label import Label
from selfsame.labels.votes import Verdict, agreement, verdicts
from selfsame.metrics.statistics import Bootstrap
from selfsame.run.compared import Preferred
from selfsame.run.named_runs import Recipes, System


def people_prefer(labels: Sequence[Label], recipes: Recipes, bootstrap: Bootstrap) -> Iterable[Preferred]:
    """How often people prefer each recipe to the first, over the questions about replies of both.

    Args:
        labels: with the systems that gave the replies (`demo:ppo`).
        recipes: the systems compared.
        bootstrap: how intervals are made, over personas.

    Returns:
        a record for each recipe that was labelled against the first; `value` is the share of its wins, ties and both bad as
        halves. People do not see who replied, so there is no order that sways them; p is not computed.

    Raises:
        DataError: no label is about two of the systems.
    """
    (than, first), *others = recipes.items()
    asked, found = verdicts(labels), []
    for name, systems in others:
        leads = [
            (sign * verdict.lead, verdict)
            for verdict in asked
            for sign in (1, -1)
            if _by(verdict, sign, systems) and _by(verdict, -sign, first)
        ]
        if leads:
            won = [(lead > 0) + 0.5 * (lead == 0) for lead, _ in leads]
            share = bootstrap.share(won, [verdict.prompt.persona for _, verdict in leads])
            people = agreement(_of(labels, [verdict for _, verdict in leads]))
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
    if not found:
        known = sorted({name for verdict in asked for name in verdict.by if name})
        raise DataError(
            f"no label is about {than} and another of these systems: the labels are about {', '.join(known) or 'none'}"
        )
    return found


def _by(verdict: Verdict, sign: int, systems: Sequence[System]) -> bool:
    """Whether the first (sign 1) or second reply is of one of the systems. A label names a run by its last folders."""
    name = verdict.by[0 if sign > 0 else 1]
    return bool(name) and any(f"/{system.path.resolve()}:{system.system}".endswith(f"/{name}") for system in systems)


def _of(labels: Sequence[Label], asked: Sequence[Verdict]) -> list[Label]:
    questions = {(verdict.prompt, frozenset(verdict.replies)) for verdict in asked}
    return [label for label in labels if label.question() in questions]
