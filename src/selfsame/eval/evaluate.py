"""Evaluation of one system (the base, or a trained role) on held-out personas.

It has three phases: the system replies, evaluators score each reply, and the scores are summed up with reference rows.
Systems are compared fairly. The prompts depend on the data and the generator alone. Reply k of every system is sampled with
the same random numbers (a function of the seed and k), and so is the reply without the persona. The pairs then give the
best estimate of a difference (`Bootstrap.difference` of the `scores` in two results).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from selfsame.data.pairs import PreferenceGenerator
from selfsame.eval.scoring import (
    AnswerScorer,
    Metrics,
    Scores,
    answered,
    gold_answers,
    groups_of,
    recited,
    strangers,
)
from selfsame.eval.selfplay import evaluate_selfplay
from selfsame.eval.settings import EvaluationSettings
from selfsame.metrics.hits import BenchmarkEvaluator, draw_distractors, fits, longest_candidate
from selfsame.metrics.judge import judge_summary, load_judge
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.quality import QualityEvaluator
from selfsame.metrics.reader import load_reader, reader_name
from selfsame.metrics.sense import SenseEvaluator, Turn
from selfsame.metrics.statistics import Bootstrap
from selfsame.model import parallel
from selfsame.model.roles import Roles
from selfsame.ratings.followups import BASE, FollowUps
from selfsame.rollout.policy import Policy
from selfsame.run.logger import Progress
from selfsame.run.records import EvaluationRecord, JudgeRecord, ReaderRecord, ReplyRecord
from selfsame.run.records import Metrics as MetricRecords
from selfsame.text.functions import load_functions
from selfsame.text.keywords import TraitMatcher
from selfsame.types import Answer, Example

DISTRACTORS = 19  # ConvAI2's number: 20 candidates
CALIBRATION = 200
"""Turns that people said, on which the bounds of sense are set."""
SCORED = 8
"""Steps of scoring that the progress bar counts."""


@dataclass(frozen=True)
class Answers:
    """What a system replied.

    Attributes:
        grounded: to prompts that call for the persona.
        without_persona: to the same prompts with no persona in them.
        talk: to prompts from anywhere in dialogues.
        left_out: prompts whose persona is too long for the model.
    """

    grounded: list[Answer]
    without_persona: list[Answer]
    talk: list[Answer]
    left_out: int


@dataclass(frozen=True)
class Scored:
    """The scores of a system's answers, and what is measured on people's replies instead.

    Attributes:
        grounded: of `Answers.grounded`.
        character: of `Answers.talk`: in character, and why not.
        talk: further scores of the same.
        functions: what the user's own functions say of the same.
        people: how well the system predicts what people said.
        references: the same metrics of answers whose quality is known, by row.
    """

    grounded: Scores
    character: Scores
    talk: Scores
    functions: Scores
    people: Metrics
    references: dict[str, Metrics]


def evaluate_system(
    policy: Policy,
    examples: Sequence[Example],
    generator: PreferenceGenerator,
    settings: EvaluationSettings,
    system: str = "model",
) -> EvaluationRecord:
    """All metrics of one system.

    Args:
        policy: who speaks. What is no reply, such as perplexity, is its role's, whatever its `best_of` is.
        examples: held-out sides of dialogues.
        generator: makes the test sets from them.
        settings: sizes, intervals.
        system: its name in tables.
    """
    functions, judge = load_functions(settings.functions), load_judge(settings.judge)
    answers = generate(policy, generator, settings, system)
    bootstrap = Bootstrap(settings.resamples, settings.confidence, policy.seed)
    persona = PersonaEvaluator(TraitMatcher.of(examples), bootstrap, judge)
    language = persona.matcher.language
    sense = sense_of(settings.model, examples, [*answers.grounded, *answers.talk], policy.seed, language)
    followups = _followups() if reader_name(settings.model) == BASE else None
    scorer = AnswerScorer(persona, sense, functions, followups)
    with Progress(SCORED, f"score {system}", enabled=parallel.is_main()) as progress:
        scores = score(scorer, policy, answers, examples, settings, progress)
        metrics = aggregate(scorer, answers, scores)
        progress.advance()
    selfplay = None
    if settings.selfplay_size:
        selfplay = evaluate_selfplay(policy, examples, persona, settings.selfplay_size, settings.selfplay_turns, system)
    return EvaluationRecord(
        system=system,
        items=len(answers.grounded),
        left_out=answers.left_out,
        metrics=_plain(metrics),
        references={row: _plain(found) for row, found in scores.references.items()},
        settings={
            "sampling": policy.sampling.model_dump(),
            "evaluation": settings.model_dump(),
            "seed": policy.seed,
            "best_of": policy.best_of,
        },
        judge=JudgeRecord(**judge_summary(judge, language)),
        reader=_reader(policy.roles, sense),
        replies=_rows(scorer, answers.grounded, scores.grounded),
        talk=_rows(scorer, answers.talk, scores.character | scores.functions),
        selfplay=selfplay,
    )


# --- generate -----------------------------------------------------------------------------------------------------------


def generate(policy: Policy, generator: PreferenceGenerator, settings: EvaluationSettings, system: str) -> Answers:
    """The system's reply to every prompt of the test sets whose persona leaves room for it."""
    tests = generator.create_test_sets(settings.consistency_size, settings.engagement_size)
    reserve = max(policy.sampling.max_new_tokens, longest_candidate(policy.roles))
    grounded, talk = (
        [item for item in items if fits(policy.roles, item.prompt, reserve)]
        for items in (tests.consistency, tests.engagement)
    )
    bare = [replace(item, prompt=item.prompt.with_persona(())) for item in grounded]
    # All at once, since large batches take fewer steps; each set has the random numbers that it would have alone.
    sets = grounded, bare, talk
    every, places = [item for items in sets for item in items], [k for items in sets for k in range(len(items))]
    with Progress(len(every), f"evaluate {system}", enabled=parallel.is_main()) as progress:
        found = iter(answered(policy, every, progress, places))
    answers = [[next(found) for _ in items] for items in sets]
    # The persona that was left out of the prompt is the one that the reply is held against.
    without = [replace(answer, prompt=item.prompt) for answer, item in zip(answers[1], grounded, strict=True)]
    return Answers(
        answers[0], without, answers[2], len(tests.consistency) + len(tests.engagement) - len(grounded) - len(talk)
    )


# --- score --------------------------------------------------------------------------------------------------------------


def score(
    scorer: AnswerScorer,
    policy: Policy,
    answers: Answers,
    examples: Sequence[Example],
    settings: EvaluationSettings,
    progress: Progress,
) -> Scored:
    """Every score of every answer. `examples`: whose dialogues perplexity and distractors come from."""
    character = scorer.of_character(answers.talk)
    progress.advance()
    grounded = scorer.of_grounded(answers.grounded)
    progress.advance()
    talk = {"grounding_anywhere": scorer.grounding(answers.talk), "engagement": scorer.engagement(answers.talk)}
    held_out = random.Random(policy.seed).sample(examples, min(settings.perplexity_size, len(examples)))
    people = QualityEvaluator(scorer.bootstrap).compute_perplexity(policy.roles, policy.role, held_out)
    progress.advance()
    people |= _hits_at_1(scorer, policy, examples, answers.talk[: settings.perplexity_size])
    progress.advance()
    references = _references(scorer, answers, policy.seed, progress)
    return Scored(grounded, character, talk, scorer.of_functions(answers.talk), people, references)


def _hits_at_1(scorer: AnswerScorer, policy: Policy, examples: Sequence[Example], talk: Sequence[Answer]) -> Metrics:
    """How often the gold reply is the most likely of twenty."""
    gold, pool = [a.gold for a in talk], [reply for e in examples for reply in e.replies if reply]
    distractors = draw_distractors(gold, pool, DISTRACTORS, policy.seed)
    evaluator, prompts = BenchmarkEvaluator(scorer.bootstrap), [a.prompt for a in talk]
    hits = evaluator.hits_at_1(policy.roles, policy.role, prompts, gold, distractors, groups_of(talk))
    return {"hits_at_1": hits}


def _references(scorer: AnswerScorer, answers: Answers, seed: int, progress: Progress) -> dict[str, Metrics]:
    """What the metrics are to be read beside, by row: what people said; the model without the persona; the persona recited;
    the model's replies held against the persona of someone else; what people said to other prompts."""
    grounded = answers.grounded
    others = strangers([a.persona for a in grounded], seed)
    gold, people = gold_answers(grounded), gold_answers(answers.talk)
    rows = {
        "gold": scorer.shares(scorer.of_persona(gold), grounded),
        "no_persona": scorer.shares(scorer.of_persona(answers.without_persona), grounded),
        "persona_recited": scorer.shares(scorer.of_persona(recited(grounded)), grounded),
        "random_persona": scorer.shares(scorer.of_persona(grounded, others), grounded),
    }
    progress.advance()
    sensible = scorer.of_grounded(gold)["sensible_consistency"]
    rows["gold"] |= scorer.shares({"sensible_consistency": sensible}, grounded)
    elsewhere = _said_elsewhere(people, seed)
    # In one go, since a prompt is read once for both replies.
    character = scorer.of_character([*people, *elsewhere])
    rows["gold"] |= scorer.shares({name: values[: len(people)] for name, values in character.items()}, people)
    progress.advance()
    talk = {"grounding_anywhere": scorer.grounding(people), "engagement": scorer.engagement(people)}
    rows["gold"] |= scorer.shares(talk, people) | scorer.quality(people) | scorer.diversity(people)
    rows["gold"] |= scorer.means(scorer.of_functions(people), people)
    # A score may not tell whether a reply fits. Measured for engagement: .016 [-.002, .034] between the two rows.
    rows["other_reply"] = scorer.shares({name: values[len(people) :] for name, values in character.items()}, elsewhere)
    rows["other_reply"] |= scorer.shares({"engagement": scorer.engagement(elsewhere)}, elsewhere)
    rows["other_reply"] |= scorer.quality(elsewhere) | scorer.overlap(elsewhere)
    progress.advance()
    return rows


def _said_elsewhere(people: Sequence[Answer], seed: int) -> list[Answer]:
    """What people said to other prompts: what a fluent reply gets that has nothing to do with the prompt."""
    gold = [a.gold for a in people]
    drawn = zip(people, draw_distractors(gold, gold, 1, seed), strict=True)
    return [replace(answer, reply=other[0]) for answer, other in drawn if other]


def sense_of(
    model: str, examples: Sequence[Example], asked: Sequence[Answer], seed: int, language: str
) -> SenseEvaluator:
    """Bounds of sense from turns that people said in these dialogues, other turns than those asked where there are enough.
    `model`: see `EvaluationSettings`; `language`: of the dialogues."""
    known = {(a.prompt.history, a.gold) for a in asked}
    turns: list[Turn] = [(prompt.history, reply) for e in examples for prompt, reply in e.prompts() if reply]
    turns = [turn for turn in dict.fromkeys(turns) if any(turn[0])]
    fresh = [turn for turn in turns if turn not in known]
    pool = fresh if len(fresh) >= CALIBRATION // 2 else turns
    drawn = random.Random(seed).sample(pool, min(CALIBRATION, len(pool)))
    return SenseEvaluator(load_reader(model), drawn, seed, language)


@lru_cache(maxsize=1)
def _followups() -> FollowUps:
    """One for all systems of a process: what people said is the same for each."""
    return FollowUps(load_reader(BASE).roles)


# --- aggregate ----------------------------------------------------------------------------------------------------------


def aggregate(scorer: AnswerScorer, answers: Answers, scores: Scored) -> Metrics:
    """Every metric with its interval, in the order of tables."""
    talk = answers.talk
    return {
        **scorer.shares(scores.character, talk),
        **scorer.shares(scores.grounded, answers.grounded),
        **scorer.shares(scores.talk, talk),
        **scorer.quality(talk),
        **{name: found for name, found in scores.people.items() if name != "hits_at_1"},
        **scorer.overlap(talk),
        **scorer.diversity(talk),
        "hits_at_1": scores.people["hits_at_1"],
        **scorer.means(scores.functions, talk),
    }


def _rows(scorer: AnswerScorer, answers: Sequence[Answer], scores: Mapping[str, Sequence[float]]) -> list[ReplyRecord]:
    """Each answer with its scores, and what it contradicts."""
    at_odds = scorer.contradicted(answers, scores.get("contradiction", ()))
    return [
        ReplyRecord(
            dialogue=str(answer.group),
            persona=list(answer.persona),
            history=list(answer.history),
            gold=answer.gold,
            gold_traits=list(answer.gold_traits or ()),
            reply=answer.reply,
            scores={name: values[k] for name, values in scores.items()},
            at_odds=at_odds[k],
        )
        for k, answer in enumerate(answers)
    ]


def _plain(metrics: Metrics) -> MetricRecords:
    return {name: estimate.record() for name, estimate in metrics.items()}


def _reader(roles: Roles, sense: SenseEvaluator) -> ReaderRecord:
    same = base_of(roles) == base_of(sense.reader.roles)
    return ReaderRecord(name=sense.reader.name, shares_base=same, **sense.bounds.to_dict())


def base_of(roles: Roles) -> str:
    """The name of a model's base."""
    return str(roles.config._name_or_path)
