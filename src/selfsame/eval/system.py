"""One system (the base, or a trained role) on held-out personas: all evaluators, and the reference rows beside them.

Systems are compared fairly: the prompts depend on the data and the generator alone, reply k of every system is sampled
with the same random numbers (a function of the seed and k), and so is the reply without the persona. A difference
between two systems is then best estimated on the pairs (`Bootstrap.difference` of the `scores` in two results).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfsame.data.generator import PreferenceGenerator, TestItem
from selfsame.data.keywords import TraitMatcher
from selfsame.data.loader import persona_key
from selfsame.eval.benchmark import BenchmarkEvaluator, draw_distractors, fits, longest_candidate
from selfsame.eval.character import all_of, evaluate_character
from selfsame.eval.engagement import EngagementEvaluator
from selfsame.eval.fit import fitted_quality
from selfsame.eval.judge import judge_summary, load_judge
from selfsame.eval.persona import PersonaEvaluator
from selfsame.eval.quality import QualityEvaluator
from selfsame.eval.reader import load_reader
from selfsame.eval.selfplay import evaluate_selfplay
from selfsame.eval.sense import SenseEvaluator, Turn
from selfsame.eval.settings import EvaluationSettings
from selfsame.eval.speaker import Speaker
from selfsame.eval.statistics import Bootstrap, Estimate
from selfsame.model import parallel
from selfsame.model.roles import Roles
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.logger import Progress
from selfsame.types import Example, Persona

DISTRACTORS = 19  # ConvAI2's number: 20 candidates
CALIBRATION = 200
"""Turns that people said, on which the bounds of sense are set."""


def evaluate_system(
    roles: Roles,
    role: str | None,
    examples: Sequence[Example],
    generator: PreferenceGenerator,
    settings: EvaluationSettings,
    sampling: SamplingSettings,
    seed: int = 0,
    system: str = "model",
    best_of: int = 1,
) -> dict[str, Any]:
    """All metrics of one system.

    Args:
        roles: the model.
        role: whose adapter speaks; None: the base alone.
        examples: held-out sides of dialogues.
        generator: makes the test sets from them.
        settings: sizes, intervals.
        sampling: how replies are sampled.
        seed: of sampling and resampling.
        system: its name in tables.
        best_of: of so many replies the one with the highest reward counts (the `reward` role); what is no reply, such as
            perplexity, is the role's.

    Returns:
        `{system, items, left_out, metrics: {name: estimate}, references: {row: {name: estimate}}, settings, judge, reader,
        replies, talk, selfplay}`, estimates as `{value, low, high, count, missing}`; `left_out`: prompts whose persona is too
        long for the model; `reader`: who says what makes sense, and how often that is wrong; `talk`: the replies in
        mid-dialogue; `selfplay`: see `evaluate_selfplay`, not there for a `selfplay_size` of 0.
    """
    judge, matcher = load_judge(settings.judge), TraitMatcher.of(examples)
    tests = generator.create_test_sets(settings.consistency_size, settings.engagement_size)
    reserve = max(sampling.max_new_tokens, longest_candidate(roles))
    calls, talk = (_that_fit(roles, items, reserve) for items in (tests.consistency, tests.engagement))
    bootstrap = Bootstrap(settings.resamples, settings.confidence, seed)
    progress = Progress(2 * len(calls) + len(talk), f"evaluate {system}", enabled=parallel.is_main())
    speak = Speaker(roles, role, sampling, seed, progress, best_of)
    with progress:
        replies = speak([item.prompt for item in calls])
        without = speak([item.prompt.with_persona(()) for item in calls])
        talk_replies = speak([item.prompt for item in talk])
    persona = PersonaEvaluator(matcher, bootstrap, judge)
    sense = sense_of(settings.model, examples, [*calls, *talk], seed)
    held_out = random.Random(seed).sample(examples, min(settings.perplexity_size, len(examples)))
    parts: list[Callable[[], dict[str, Estimate]]] = [
        lambda: {"telling": _telling(persona, talk, talk_replies)},
        lambda: {"engagement": _engagement(bootstrap, talk, talk_replies)},
        lambda: {"fitted_quality": _fitted(bootstrap, talk, talk_replies)},
        lambda: QualityEvaluator(bootstrap).compute_perplexity(roles, role, held_out),
        lambda: _overlap(bootstrap, talk, talk_replies) | _diversity(bootstrap, talk, talk_replies),
        lambda: {"hits_at_1": _hits(roles, role, examples, talk[: settings.perplexity_size], bootstrap)},
    ]
    with Progress(3 + len(parts), f"score {system}", enabled=parallel.is_main()) as progress:
        character = evaluate_character(persona, sense, talk, talk_replies)
        metrics = _shares(bootstrap, character, talk)
        progress.advance()
        scores = _called_scores(persona, sense, calls, replies)
        metrics |= _shares(bootstrap, scores, calls)
        progress.advance()
        for part in parts:
            metrics |= part()
            progress.advance()
        references = _references(persona, sense, calls, replies, without, talk, seed)
        progress.advance()
    result = {
        "system": system,
        "items": len(calls),
        "left_out": len(tests.consistency) + len(tests.engagement) - len(calls) - len(talk),
        "metrics": _plain(metrics),
        "references": {row: _plain(scores) for row, scores in references.items()},
        "settings": {
            "sampling": sampling.model_dump(),
            "evaluation": settings.model_dump(),
            "seed": seed,
            "best_of": best_of,
        },
        "judge": judge_summary(judge),
        "reader": {"name": sense.reader.name, "shares_base": base_of(roles) == base_of(sense.reader.roles)}
        | sense.bounds.to_dict(),
        "replies": _reply_rows(persona, scores, calls, replies),
        "talk": _reply_rows(persona, character, talk, talk_replies),
    }
    if settings.selfplay_size:
        size, turns = settings.selfplay_size, settings.selfplay_turns
        result["selfplay"] = evaluate_selfplay(
            roles, role, examples, persona, size, turns, sampling, seed, system, best_of
        )
    return result


def base_of(roles: Roles) -> str:
    """The name of a model's base."""
    return str(roles.config._name_or_path)


def sense_of(model: str, examples: Sequence[Example], items: Sequence[TestItem], seed: int) -> SenseEvaluator:
    """Bounds of sense from turns that people said in these dialogues, other turns than those of the items where there are
    enough. `model`: see `EvaluationSettings`."""
    asked = {(item.prompt.history, item.reply) for item in items}
    turns: list[Turn] = [(prompt.history, reply) for e in examples for prompt, reply in e.prompts() if reply]
    turns = [turn for turn in dict.fromkeys(turns) if any(turn[0])]
    fresh = [turn for turn in turns if turn not in asked]
    pool = fresh if len(fresh) >= CALIBRATION // 2 else turns
    drawn = random.Random(seed).sample(pool, min(CALIBRATION, len(pool)))
    return SenseEvaluator(load_reader(model), drawn, seed)


def _that_fit(roles: Roles, items: Sequence[TestItem], reserve: int) -> list[TestItem]:
    """The items whose persona leaves room for a reply of `reserve` tokens."""
    return [item for item in items if fits(roles, item.prompt, reserve)]


def _persona_scores(
    evaluator: PersonaEvaluator,
    personas: Sequence[Persona],
    replies: Sequence[str],
    items: Sequence[TestItem],
    own: bool = True,
) -> dict[str, list[float]]:
    """Each reply's scores. `own`: these are the personas of the prompts, some traits of which are called for."""
    histories = [i.prompt.history for i in items]
    called = [i.traits for i in items] if own else None
    return evaluator.evaluate_each(personas, replies, histories, called)


def _called_scores(
    persona: PersonaEvaluator, sense: SenseEvaluator, items: Sequence[TestItem], replies: Sequence[str]
) -> dict[str, list[float]]:
    """The persona's scores of replies to prompts that call for it, and `sensible_consistency`: consistent, well formed and an
    answer."""
    scores = _persona_scores(persona, [i.prompt.persona for i in items], replies, items)
    sound = sense.evaluate([i.prompt.history for i in items], replies)
    rows = zip(scores["consistency"], sound["well_formed"], sound["answers"], strict=True)
    return {"sensible_consistency": [all_of(*row) for row in rows], **scores}


def _shares(
    bootstrap: Bootstrap, scores: Mapping[str, Sequence[float]], items: Sequence[TestItem]
) -> dict[str, Estimate]:
    return {name: bootstrap.share(values, _dialogues(items)) for name, values in scores.items()}


def _references(
    evaluator: PersonaEvaluator,
    sense: SenseEvaluator,
    calls: Sequence[TestItem],
    replies: Sequence[str],
    without: Sequence[str],
    talk: Sequence[TestItem],
    seed: int,
) -> dict[str, dict[str, Estimate]]:
    """What the metrics are to be read beside, by row."""
    found = _persona_references(evaluator, calls, replies, without, seed)
    gold = [i.reply for i in talk]
    called = _called_scores(evaluator, sense, calls, [i.reply for i in calls])["sensible_consistency"]
    found["gold"] |= _shares(evaluator.bootstrap, {"sensible_consistency": called}, calls)
    found["gold"] |= _shares(evaluator.bootstrap, evaluate_character(evaluator, sense, talk, gold), talk)
    found["gold"] |= _gold_talk(evaluator, talk)
    return found | {"other_reply": _other_talk(evaluator, sense, talk, seed)}


def _persona_references(
    evaluator: PersonaEvaluator, items: Sequence[TestItem], replies: Sequence[str], without: Sequence[str], seed: int
) -> dict[str, dict[str, Estimate]]:
    """The same prompts: the gold reply; the model that is not told the persona; the persona recited; and the model's
    replies held against the persona of someone else."""
    own = [i.prompt.persona for i in items]
    rows = {
        "gold": _persona_scores(evaluator, own, [i.reply for i in items], items),
        "no_persona": _persona_scores(evaluator, own, without, items),
        "recitation": _persona_scores(evaluator, own, [" ".join(p) for p in own], items),
        "random_persona": _persona_scores(evaluator, others(own, seed), replies, items, own=False),
    }
    return {name: _shares(evaluator.bootstrap, scores, items) for name, scores in rows.items()}


def others(personas: Sequence[Persona], seed: int) -> list[Persona]:
    """For each item a persona of someone else among them (empty, and so not scored, if there is no one else); the same
    traits in another order or in capitals are no one else."""
    draw = random.Random(seed)
    different = {persona_key(persona): persona for persona in personas if persona}
    found: list[Persona] = []
    for persona in personas:
        choice = [other for key, other in different.items() if key != persona_key(persona)]
        found.append(draw.choice(choice) if choice else ())
    return found


def _gold_talk(evaluator: PersonaEvaluator, items: Sequence[TestItem]) -> dict[str, Estimate]:
    """What people said, by the metrics that do not compare with it."""
    gold, bootstrap = [i.reply for i in items], evaluator.bootstrap
    return {
        "telling": _telling(evaluator, items, gold),
        "engagement": _engagement(bootstrap, items, gold),
        "fitted_quality": _fitted(bootstrap, items, gold),
        **_diversity(bootstrap, items, gold),
    }


def _other_talk(
    evaluator: PersonaEvaluator, sense: SenseEvaluator, items: Sequence[TestItem], seed: int
) -> dict[str, Estimate]:
    """What people said to other prompts: what a fluent reply gets that has nothing to do with the prompt."""
    bootstrap = evaluator.bootstrap
    gold = [i.reply for i in items]
    drawn = [(i, other[0]) for i, other in zip(items, draw_distractors(gold, gold, 1, seed), strict=True) if other]
    items, replies = [item for item, _ in drawn], [reply for _, reply in drawn]
    return {
        **_shares(bootstrap, evaluate_character(evaluator, sense, items, replies), items),
        "engagement": _engagement(bootstrap, items, replies),
        "fitted_quality": _fitted(bootstrap, items, replies),
        **_overlap(bootstrap, items, replies),
    }


def _telling(evaluator: PersonaEvaluator, items: Sequence[TestItem], replies: Sequence[str]) -> Estimate:
    """How many replies anywhere in mid-dialogue draw on a trait: no more than people's should."""
    told = evaluator.evaluate_expression([i.prompt.persona for i in items], replies)
    return evaluator.bootstrap.share(told, _dialogues(items))


def _engagement(bootstrap: Bootstrap, items: Sequence[TestItem], replies: Sequence[str]) -> Estimate:
    contexts = [i.prompt.history for i in items]
    return EngagementEvaluator(bootstrap).evaluate_engagement(contexts, replies, _dialogues(items))


def _fitted(bootstrap: Bootstrap, items: Sequence[TestItem], replies: Sequence[str]) -> Estimate:
    return fitted_quality(bootstrap, [i.prompt for i in items], replies, _dialogues(items))


def _overlap(bootstrap: Bootstrap, items: Sequence[TestItem], replies: Sequence[str]) -> dict[str, Estimate]:
    quality, gold, groups = QualityEvaluator(bootstrap), [i.reply for i in items], _dialogues(items)
    return {
        "bleu": quality.compute_bleu(replies, gold, groups),
        "rouge_l": quality.compute_rouge(replies, gold, groups),
        "f1": quality.compute_f1(replies, gold, groups),
    }


def _diversity(bootstrap: Bootstrap, items: Sequence[TestItem], replies: Sequence[str]) -> dict[str, Estimate]:
    quality = QualityEvaluator(bootstrap)
    return {
        "distinct_1": quality.compute_distinct_n(replies, 1),
        "distinct_2": quality.compute_distinct_n(replies, 2),
        "reply_words": bootstrap.mean([float(len(r.split())) for r in replies], _dialogues(items)),
    }


def _hits(
    roles: Roles, role: str | None, examples: Sequence[Example], items: Sequence[TestItem], bootstrap: Bootstrap
) -> Estimate:
    gold, pool = [i.reply for i in items], [reply for e in examples for reply in e.replies if reply]
    distractors = draw_distractors(gold, pool, DISTRACTORS, bootstrap.seed)
    prompts = [i.prompt for i in items]
    return BenchmarkEvaluator(bootstrap).hits_at_1(roles, role, prompts, gold, distractors, _dialogues(items))


def _dialogues(items: Sequence[TestItem]) -> list[str]:
    return [item.dialogue_id for item in items]


def _reply_rows(
    evaluator: PersonaEvaluator,
    scores: Mapping[str, Sequence[float]],
    items: Sequence[TestItem],
    replies: Sequence[str],
) -> list[dict[str, Any]]:
    """Each reply with its prompt and scores; `at_odds`: what it contradicts."""
    wrong = [k for k, value in enumerate(scores.get("contradiction", ())) if value == 1]
    asked = [items[k].prompt for k in wrong]
    premises = evaluator.find_contradictions(
        [p.persona for p in asked], [replies[k] for k in wrong], [p.history for p in asked]
    )
    at_odds = dict(zip(wrong, premises, strict=True))
    return [
        {
            "dialogue": item.dialogue_id,
            "persona": list(item.prompt.persona),
            "history": list(item.prompt.history),
            "gold": item.reply,
            "called": list(item.traits),
            "reply": reply,
            "scores": {name: values[k] for name, values in scores.items()},
            "at_odds": at_odds.get(k, []),
        }
        for k, (item, reply) in enumerate(zip(items, replies, strict=True))
    ]


def _plain(scores: dict[str, Estimate]) -> dict[str, dict[str, Any]]:
    return {name: estimate.to_dict() for name, estimate in scores.items()}
