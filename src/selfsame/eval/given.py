"""Scores of replies from a file, by any system, made as our own.

Each system gets every score that needs no model, next to the scores of replies of known quality. Systems are compared on the
prompts that both answer. Two things differ from `eval/evaluate.py`:

- Word rarity comes from the file's personas, contexts and gold replies, of English together with the bundled dialogues, since
  a small file knows little of it. The scored replies are left out, so that no system changes another's numbers.
- Prompts need not call for the persona. If `gold_traits` is empty, or the gold reply uses no trait, consistency, grounding
  and keywords are missing there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfsame.comparing.pairs import Paired, ScoredReply, compare_replies
from selfsame.eval.scoring import (
    AnswerScorer,
    Metrics,
    Scores,
    gold_answers,
    gold_overlap,
    groups_of,
    recited,
    replies_of,
    strangers,
)
from selfsame.metrics.judge import Judge, judge_summary
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.quality import QualityEvaluator
from selfsame.metrics.statistics import Bootstrap
from selfsame.ratings.rows import GivenReply
from selfsame.ratings.scorers import demo_texts
from selfsame.text.functions import UserFunction
from selfsame.text.keywords import TraitMatcher, words
from selfsame.text.language import ENGLISH, find_language
from selfsame.types import Answer, Prompt


@dataclass(frozen=True)
class System:
    """The answers of one system, their lines in the file, and their scores."""

    lines: list[int]
    answers: list[Answer]
    scores: Scores
    functions: Scores

    @property
    def all_scores(self) -> Scores:
        """Our scores, and those of the user's functions."""
        return self.scores | self.functions


def score_given(
    rows: Sequence[GivenReply], judge: Judge, bootstrap: Bootstrap, functions: Sequence[UserFunction] = ()
) -> dict[str, Any]:
    """Every system of the rows.

    Args:
        rows: replies of one system or several.
        judge: of contradictions.
        bootstrap: how intervals are made.
        functions: of the user; each is a metric.

    Returns:
        `{judge, systems: {name: {system, items, dialogues, wordless, metrics, references}}, comparisons, paired, replies}`:
        `wordless` counts replies without a word; `comparisons` as in `compare_replies`, each other system with the first
        one of the file; `paired`: `{system, than, prompts}`; `replies`: `{line, system, scores}` of each row.
    """
    own = dict.fromkeys(text for row in rows for text in (*row.persona, *row.context, row.gold) if text)
    language = find_language(own)
    known = demo_texts() if language == ENGLISH else ()
    matcher = TraitMatcher([*known, *own], language=language)
    scorer = AnswerScorer(PersonaEvaluator(matcher, bootstrap, judge), functions=tuple(functions))
    by_system: dict[str, list[GivenReply]] = {}
    for row in rows:
        by_system.setdefault(row.system, []).append(row)
    systems = {name: _scored(scorer, own) for name, own in by_system.items()}
    first, *rest = systems
    pairs = [_paired(name, first, systems) for name in rest]
    return {
        "judge": judge_summary(judge, language),
        "systems": {name: _record(scorer, name, system) for name, system in systems.items()},
        "comparisons": [found.model_dump() for found in compare_replies(pairs, bootstrap)],
        "paired": [{"system": one, "than": other, "prompts": len(ours)} for one, other, ours, _ in pairs],
        "replies": [
            {"line": line, "system": name, "scores": _of(system.all_scores, k)}
            for name, system in systems.items()
            for k, line in enumerate(system.lines)
        ],
    }


def _scored(scorer: AnswerScorer, rows: Sequence[GivenReply]) -> System:
    """Every score of every reply; `f1` where a gold reply is known for any."""
    answers = [_answer(row, scorer.persona.matcher) for row in rows]
    scores = scorer.of_persona(answers) | {"engagement": scorer.engagement(answers)}
    if any(words(answer.gold) for answer in answers):
        scores["f1"] = gold_overlap(answers)
    return System([row.line for row in rows], answers, scores, scorer.of_functions(answers))


def _answer(row: GivenReply, matcher: TraitMatcher) -> Answer:
    """With the traits that the gold reply draws on, where the row does not say which they are."""
    prompt, traits = Prompt(row.persona, row.context), row.gold_traits
    if traits is None and words(row.gold):
        traits = matcher.drawn(row.persona, row.gold)
    return Answer(prompt, row.reply, row.gold, traits, prompt if row.dialogue is None else row.dialogue)


def _record(scorer: AnswerScorer, name: str, system: System) -> dict[str, Any]:
    answers, bootstrap = system.answers, scorer.bootstrap
    metrics = scorer.shares(system.scores, answers) | scorer.diversity(answers)
    metrics |= scorer.means(system.functions, answers)
    references: dict[str, Metrics] = {}
    if known := [answer for answer in answers if words(answer.gold)]:
        quality, groups, gold = QualityEvaluator(bootstrap), groups_of(answers), [a.gold for a in answers]
        metrics["rouge_l"] = quality.compute_rouge(replies_of(answers), gold, groups)
        metrics["bleu"] = quality.compute_bleu(replies_of(answers), gold, groups)
        people = gold_answers(known)
        scores = scorer.of_persona(people) | {"engagement": scorer.engagement(people)}
        references["gold"] = scorer.shares(scores, people) | scorer.diversity(people)
        references["gold"] |= scorer.means(scorer.of_functions(people), people)
    others = strangers([answer.persona for answer in answers], bootstrap.seed)
    references["random_persona"] = scorer.shares(scorer.of_persona(answers, others), answers)
    references["persona_recited"] = scorer.shares(scorer.of_persona(recited(answers)), answers)
    return {
        "system": name,
        "items": len(answers),
        "dialogues": len(set(groups_of(answers))),
        "wordless": sum(not words(answer.reply) for answer in answers),
        "metrics": _plain(metrics),
        "references": {row: _plain(found) for row, found in references.items()},
    }


def _paired(name: str, first: str, systems: Mapping[str, System]) -> Paired:
    """Both systems' scored replies to the prompts that both answer; a prompt's second reply goes with the second."""
    ours, theirs = systems[name], systems[first]
    our_places, their_places = _by_prompt(ours.answers), _by_prompt(theirs.answers)
    shared = [key for key in our_places if key in their_places]
    metrics = [metric for metric in ours.all_scores if metric in theirs.all_scores]
    groups = [ours.answers[our_places[key]].group for key in shared]
    one, other = (
        [
            ScoredReply(group, {m: system.all_scores[m][places[key]] for m in metrics})
            for key, group in zip(shared, groups, strict=True)
        ]
        for system, places in ((ours, our_places), (theirs, their_places))
    )
    return name, first, one, other


def _by_prompt(answers: Sequence[Answer]) -> dict[tuple[Prompt, int], int]:
    """(prompt, how many replies to it came before) -> place among the answers."""
    seen: dict[Prompt, int] = {}
    places: dict[tuple[Prompt, int], int] = {}
    for k, answer in enumerate(answers):
        places[answer.prompt, seen.setdefault(answer.prompt, 0)] = k
        seen[answer.prompt] += 1
    return places


def _of(scores: Scores, k: int) -> dict[str, float]:
    return {name: values[k] for name, values in scores.items()}


def _plain(metrics: Metrics) -> dict[str, dict[str, Any]]:
    return {name: estimate.to_dict() for name, estimate in metrics.items()}
