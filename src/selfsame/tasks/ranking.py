"""The group of candidates that a model ranks first: gold or another, fitting the persona or contradicting it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from selfsame.metrics.hits import BenchmarkEvaluator, fits
from selfsame.metrics.statistics import Bootstrap, show_estimate
from selfsame.model.roles import Roles
from selfsame.ratings.likelihood import prompt_of
from selfsame.ratings.rows import RankedPrompt


def rank_rows(
    roles: Roles, role: str | None, rows: Sequence[RankedPrompt], bootstrap: Bootstrap, token_budget: int = 4096
) -> dict[str, Any]:
    """Candidates by mean log-probability per token.

    Returns:
        `{rows, missing, groups: {group: {first, chance}}}`: `first`: share of the rows with a candidate of that group in
        which one of them is ranked first (a tie is shared out); `chance`: the share that drawing one would give. A row with
        less than two candidates, or whose persona is too long for the model, is missing.
    """
    prompts = [prompt_of(row.persona, row.context) for row in rows]
    kept = [k for k, row in enumerate(rows) if len(row.candidates) > 1 and fits(roles, prompts[k])]
    texts = [list(dict.fromkeys(text for text, _ in rows[k].candidates)) for k in kept]  # equal texts score equally
    ranked = BenchmarkEvaluator(bootstrap).rank(roles, role, [prompts[k] for k in kept], texts, token_budget)
    scored = [
        (rows[k], [scores[own.index(text)] for text, _ in rows[k].candidates])
        for k, own, scores in zip(kept, texts, ranked, strict=True)
        if not any(map(math.isnan, scores))
    ]
    names = dict.fromkeys(group for row in rows for _, group in row.candidates)
    missing = len(rows) - len(scored)
    return {
        "rows": len(rows),
        "missing": missing,
        "groups": {name: _shares(name, scored, bootstrap) for name in sorted(names)},
    }


def _shares(name: str, scored: Sequence[tuple[RankedPrompt, Sequence[float]]], bootstrap: Bootstrap) -> dict[str, Any]:
    part = [(row, scores) for row, scores in scored if any(group == name for _, group in row.candidates)]
    dialogues = [row.dialogue for row, _ in part]
    first = [_first(name, row, scores) for row, scores in part]
    chance = [sum(group == name for _, group in row.candidates) / len(row.candidates) for row, _ in part]
    return {
        "first": bootstrap.share(first, dialogues).to_dict(),
        "chance": sum(chance) / len(chance) if chance else math.nan,
    }


def _first(name: str, row: RankedPrompt, scores: Sequence[float]) -> float:
    """Share of the candidates with the highest score that are of the group."""
    best = [group for (_, group), score in zip(row.candidates, scores, strict=True) if score == max(scores)]
    return best.count(name) / len(best)


def rank_text(result: dict[str, Any]) -> str:
    """As plain text."""
    lines = [f"{result['rows']} rows, {result['missing']} of them not ranked", "group: ranked first (by chance)"]
    for name, found in result["groups"].items():
        chance = found["chance"]
        by_chance = "–" if chance is None or math.isnan(chance) else f"{chance:.2f}"
        lines.append(f"{name}: {show_estimate(found['first'])} ({by_chance}) n={found['first']['count']}")
    return "\n".join(lines)
