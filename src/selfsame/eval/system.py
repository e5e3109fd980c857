"""One system (the base, or a trained role) on held-out personas: all evaluators, and the reference rows beside them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from selfsame.data.generator import PreferenceGenerator, TestItem
from selfsame.data.keywords import TraitMatcher
from selfsame.eval.benchmark import BenchmarkEvaluator, draw_distractors
from selfsame.eval.engagement import EngagementEvaluator
from selfsame.eval.persona import PersonaEvaluator
from selfsame.eval.quality import QualityEvaluator
from selfsame.eval.settings import EvaluationSettings
from selfsame.eval.statistics import Bootstrap, Estimate
from selfsame.model.roles import Roles
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.logger import Progress
from selfsame.types import Example, Persona, Prompt

DISTRACTORS = 19  # ConvAI2's number: 20 candidates


def evaluate_system(
    roles: Roles,
    role: str | None,
    examples: Sequence[Example],
    generator: PreferenceGenerator,
    settings: EvaluationSettings,
    sampling: SamplingSettings,
    seed: int = 0,
    system: str = "model",
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

    Returns:
        `{system, items, metrics: {name: estimate}, references: {row: {name: estimate}}, settings}`, estimates as
        `{value, low, high, count, missing}`.
    """
    tests = generator.create_test_sets(settings.consistency_size, settings.engagement_size)
    bootstrap = Bootstrap(settings.resamples, settings.confidence, seed)
    calls, talk = tests.consistency, tests.engagement
    speak = _Speaker(roles, role, sampling, seed, system, 2 * len(calls) + len(talk))
    with speak.progress:
        replies = speak([item.prompt for item in calls])
        without = speak([item.prompt.with_persona(()) for item in calls])
        talk_replies = speak([item.prompt for item in talk])
    persona = PersonaEvaluator(TraitMatcher([text for e in examples for text in (*e.persona, *e.turns)]), bootstrap)
    return {
        "system": system,
        "items": len(calls),
        "metrics": _plain(_persona_scores(persona, calls, replies) | _other_scores(roles, role, examples, talk, talk_replies, settings, bootstrap)),
        "references": {row: _plain(scores) for row, scores in _references(persona, calls, replies, without, seed).items()},
        "settings": {"sampling": sampling.model_dump(), "evaluation": settings.model_dump(), "seed": seed},
        "replies": [
            {"persona": list(i.prompt.persona), "history": list(i.prompt.history), "gold": i.reply, "reply": reply}
            for i, reply in zip(calls, replies, strict=True)
        ],
    }


class _Speaker:
    """Replies in batches, with a progress bar over all of them."""

    def __init__(self, roles: Roles, role: str | None, sampling: SamplingSettings, seed: int, system: str, total: int) -> None:
        self.engine, self.role, self.sampling, self.seed = RolloutEngine(roles, sampling.batch_size), role, sampling, seed
        self.progress = Progress(total, f"evaluate {system}")

    def __call__(self, prompts: Sequence[Prompt]) -> list[str]:
        replies: list[str] = []
        size = 4 * self.sampling.batch_size  # several batches at once, so that prompts of similar length meet
        for at in range(0, len(prompts), size):
            some = prompts[at : at + size]
            replies += self.engine.reply(self.role, some, self.sampling, self.seed + at)
            self.progress.advance(len(some))
        return replies


def _persona_scores(evaluator: PersonaEvaluator, items: Sequence[TestItem], replies: Sequence[str]) -> dict[str, Estimate]:
    return _score(evaluator, [i.prompt.persona for i in items], replies, [i.dialogue_id for i in items])


def _score(evaluator: PersonaEvaluator, personas: Sequence[Persona], replies: Sequence[str], groups: Sequence[str]) -> dict[str, Estimate]:
    return {
        "consistency": evaluator.evaluate_consistency(personas, replies, groups),
        "expression": evaluator.bootstrap.mean(evaluator.evaluate_expression(personas, replies), groups),
    }


def _references(
    evaluator: PersonaEvaluator, items: Sequence[TestItem], replies: Sequence[str], without: Sequence[str], seed: int
) -> dict[str, dict[str, Estimate]]:
    """The same prompts: the gold reply; the model that is not told the persona; the persona recited; and the model's replies
    held against the persona of someone else."""
    personas, groups = [i.prompt.persona for i in items], [i.dialogue_id for i in items]
    return {
        "gold": _score(evaluator, personas, [i.reply for i in items], groups),
        "no_persona": _score(evaluator, personas, without, groups),
        "recitation": _score(evaluator, personas, [" ".join(p) for p in personas], groups),
        "random_persona": _score(evaluator, _others(personas, seed), replies, groups),
    }


def _others(personas: Sequence[Persona], seed: int) -> list[Persona]:
    """For each item a persona of someone else among them (empty, and so not scored, if there is no one else)."""
    draw = random.Random(seed)
    different = list(dict.fromkeys(personas))
    if len(different) < 2:
        return [() for _ in personas]
    found = []
    for persona in personas:
        other = draw.choice(different)
        while other == persona:
            other = draw.choice(different)
        found.append(other)
    return found


def _other_scores(
    roles: Roles,
    role: str | None,
    examples: Sequence[Example],
    items: Sequence[TestItem],
    replies: Sequence[str],
    settings: EvaluationSettings,
    bootstrap: Bootstrap,
) -> dict[str, Estimate]:
    quality, gold, groups = QualityEvaluator(bootstrap), [i.reply for i in items], [i.dialogue_id for i in items]
    prompts = [i.prompt for i in items]
    engagement = EngagementEvaluator(bootstrap).evaluate_engagement([p.history for p in prompts], replies, groups)
    distractors = draw_distractors(gold, DISTRACTORS, bootstrap.seed)
    return {
        "engagement": engagement,
        **quality.compute_perplexity(roles, role, examples[: settings.perplexity_size]),
        "bleu": quality.compute_bleu(replies, gold),
        "rouge_l": quality.compute_rouge(replies, gold, groups),
        "f1": quality.compute_f1(replies, gold, groups),
        "distinct_1": quality.compute_distinct_n(replies, 1),
        "distinct_2": quality.compute_distinct_n(replies, 2),
        "hits_at_1": BenchmarkEvaluator(bootstrap).hits_at_1(roles, role, prompts, gold, distractors, groups),
        "reply_words": bootstrap.mean([float(len(r.split())) for r in replies], groups),
    }


def _plain(scores: dict[str, Estimate]) -> dict[str, dict[str, Any]]:
    return {name: estimate.to_dict() for name, estimate in scores.items()}
