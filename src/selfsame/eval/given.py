"""Replies that any system gave, read from a file, scored as our own are: for each system all that needs no model, beside
what the same scores give to replies whose quality is known, and the systems compared on the prompts that both answer.

Scores are made as in `eval/system.py`, with two differences. How rare a word is comes from the file (its personas, contexts
and gold replies; not the replies that are scored, so that no system changes another's numbers) together with the bundled
dialogues, since a file of few rows knows little of that. And prompts need not call for the persona: where it is known that
one does not (`gold_traits` is empty, or the gold reply draws on no trait), consistency, grounding and keywords are not asked
of its reply, and it is missing there."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from selfsame.data.keywords import TraitMatcher, words
from selfsame.eval.compare import Paired, compare_replies
from selfsame.eval.engagement import EngagementEvaluator
from selfsame.eval.judge import Judge, judge_summary
from selfsame.eval.persona import PersonaEvaluator
from selfsame.eval.quality import QualityEvaluator, word_f1
from selfsame.eval.rows import GivenReply
from selfsame.eval.scorers import demo_texts
from selfsame.eval.statistics import Bootstrap, Estimate
from selfsame.eval.system import strangers
from selfsame.types import Persona

ASKED_WHERE_GROUNDED = ("consistency", "grounding", "same_trait", "keywords")
"""Scores that are asked only of replies to prompts that call for the persona."""
Scores = dict[str, list[float]]
"""By metric: the score of each reply."""


def score_given(rows: Sequence[GivenReply], judge: Judge, bootstrap: Bootstrap) -> dict[str, Any]:
    """Every system of the rows.

    Args:
        rows: replies of one system or several.
        judge: of contradictions.
        bootstrap: how intervals are made.

    Returns:
        `{judge, systems: {name: {system, items, dialogues, wordless, metrics, references}}, comparisons, paired, replies}`:
        `wordless` counts replies without a word; `comparisons` as in `compare_replies`, each other system with the first
        one of the file; `paired`: `{system, than, prompts}`; `replies`: `{line, system, scores}` of each row.
    """
    own = dict.fromkeys(text for row in rows for text in (*row.persona, *row.context, row.gold) if text)
    matcher = TraitMatcher([*demo_texts(), *own])
    evaluator = PersonaEvaluator(matcher, bootstrap, judge)
    systems: dict[str, list[GivenReply]] = {}
    for row in rows:
        systems.setdefault(row.system, []).append(_with_gold_traits(row, matcher))
    scores = {name: _scores(evaluator, own) for name, own in systems.items()}
    first, *rest = systems
    pairs = [_paired(name, first, systems, scores) for name in rest]
    return {
        "judge": judge_summary(judge),
        "systems": {name: _record(evaluator, name, own, scores[name]) for name, own in systems.items()},
        "comparisons": compare_replies(pairs, bootstrap),
        "paired": [{"system": one, "than": other, "prompts": len(ours)} for one, other, ours, _ in pairs],
        "replies": [{"line": row.line, "system": name, "scores": _of(scores[name], k)}
                    for name, own in systems.items() for k, row in enumerate(own)],
    }  # fmt: skip


def _with_gold_traits(row: GivenReply, matcher: TraitMatcher) -> GivenReply:
    """With the traits that the gold reply draws on, where it is not said what the prompt calls for."""
    if row.gold_traits is not None or not words(row.gold):
        return row
    return replace(row, gold_traits=matcher.drawn(row.persona, row.gold))


def _record(evaluator: PersonaEvaluator, name: str, rows: Sequence[GivenReply], scores: Scores) -> dict[str, Any]:
    replies, bootstrap = [row.reply for row in rows], evaluator.bootstrap
    known = [row for row in rows if words(row.gold)]
    metrics = _shares(bootstrap, scores, rows) | _diversity(bootstrap, rows, replies)
    references: dict[str, dict[str, Estimate]] = {}
    if known:
        gold = [row.gold for row in rows]
        quality, groups = QualityEvaluator(bootstrap), _groups(rows)
        metrics["rouge_l"] = quality.compute_rouge(replies, gold, groups)
        metrics["bleu"] = quality.compute_bleu(replies, gold, groups)
        said = _persona_scores(evaluator, known, [row.gold for row in known]) | _engagement(
            known, [r.gold for r in known]
        )
        references["gold"] = _shares(bootstrap, said, known) | _diversity(bootstrap, known, [r.gold for r in known])
    other_personas = strangers([row.persona for row in rows], bootstrap.seed)
    held_against = _persona_scores(evaluator, rows, replies, other_personas)
    recited = _persona_scores(evaluator, rows, [" ".join(row.persona) for row in rows])
    references["random_persona"] = _shares(bootstrap, held_against, rows)
    references["persona_recited"] = _shares(bootstrap, recited, rows)
    return {
        "system": name,
        "items": len(rows),
        "dialogues": len(set(_groups(rows))),
        "wordless": sum(not words(reply) for reply in replies),
        "metrics": _plain(metrics),
        "references": {row: _plain(found) for row, found in references.items()},
    }


def _scores(evaluator: PersonaEvaluator, rows: Sequence[GivenReply]) -> Scores:
    """Reply by reply; `f1` where a gold reply is known for any."""
    replies = [row.reply for row in rows]
    found = _persona_scores(evaluator, rows, replies) | _engagement(rows, replies)
    if any(words(row.gold) for row in rows):
        found["f1"] = [word_f1(row.reply, row.gold) for row in rows]
    return found


def _persona_scores(
    evaluator: PersonaEvaluator,
    rows: Sequence[GivenReply],
    replies: Sequence[str],
    strangers: Sequence[Persona] | None = None,
) -> Scores:
    """`strangers`: personas to hold the replies against instead of the rows' own; which of their traits are called for nobody
    knows."""
    personas = [row.persona for row in rows] if strangers is None else strangers
    gold_traits = [row.gold_traits for row in rows] if strangers is None else None
    found = evaluator.evaluate_each(personas, replies, [row.context for row in rows], gold_traits)
    for name in ASKED_WHERE_GROUNDED:
        found[name] = [
            math.nan if row.gold_traits == () else score for row, score in zip(rows, found[name], strict=True)
        ]
    return found


def _engagement(rows: Sequence[GivenReply], replies: Sequence[str]) -> Scores:
    evaluator = EngagementEvaluator()
    pairs = zip(rows, replies, strict=True)
    return {"engagement": [evaluator.calculate_engagement_score(row.context, reply) for row, reply in pairs]}


def _diversity(bootstrap: Bootstrap, rows: Sequence[GivenReply], replies: Sequence[str]) -> dict[str, Estimate]:
    quality = QualityEvaluator(bootstrap)
    return {
        "distinct_1": quality.compute_distinct_n(replies, 1),
        "distinct_2": quality.compute_distinct_n(replies, 2),
        "reply_words": bootstrap.mean([float(len(reply.split())) for reply in replies], _groups(rows)),
    }


def _paired(name: str, first: str, systems: Mapping[str, Sequence[GivenReply]], scores: Mapping[str, Scores]) -> Paired:
    """Both systems' scored replies to the prompts that both answer; a prompt's second reply goes with the second."""
    ours, theirs = (_by_prompt(systems[system]) for system in (name, first))
    shared = [key for key in ours if key in theirs]
    metrics = [metric for metric in scores[name] if metric in scores[first]]
    groups = {key: _group(systems[name][ours[key]]) for key in shared}
    one, other = (
        [{"dialogue": groups[key], "scores": {m: scores[system][m][places[key]] for m in metrics}} for key in shared]
        for system, places in ((name, ours), (first, theirs))
    )
    return name, first, one, other


def _by_prompt(rows: Sequence[GivenReply]) -> dict[Hashable, int]:
    """(prompt, how many replies to it came before) -> place among the rows."""
    seen: dict[Hashable, int] = {}
    places: dict[Hashable, int] = {}
    for k, row in enumerate(rows):
        places[row.prompt, seen.setdefault(row.prompt, 0)] = k
        seen[row.prompt] += 1
    return places


def _group(row: GivenReply) -> Hashable:
    return row.prompt if row.dialogue is None else row.dialogue


def _groups(rows: Sequence[GivenReply]) -> list[Hashable]:
    return [_group(row) for row in rows]


def _shares(bootstrap: Bootstrap, scores: Scores, rows: Sequence[GivenReply]) -> dict[str, Estimate]:
    return {name: bootstrap.share(values, _groups(rows)) for name, values in scores.items()}


def _of(scores: Scores, k: int) -> dict[str, float]:
    return {name: values[k] for name, values in scores.items()}


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, Any]]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}
