"""Scores of answers one by one, and their sums, for the evaluation of a system and `selfsame score`."""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from selfsame.data.loader import persona_key
from selfsame.metrics.character import all_of, evaluate_character
from selfsame.metrics.engagement import EngagementEvaluator
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.quality import QualityEvaluator, word_f1
from selfsame.metrics.sense import SenseEvaluator
from selfsame.metrics.statistics import Bootstrap, Estimate
from selfsame.ratings.fit import OVERALL, QUALITY, score_answers
from selfsame.ratings.followups import FollowUps
from selfsame.rollout.policy import Policy
from selfsame.run.logger import Progress
from selfsame.text.functions import UserFunction
from selfsame.text.keywords import count_words
from selfsame.text.language import ENGLISH
from selfsame.types import Answer, Persona

Scores = dict[str, list[float]]
"""By metric, a score of each answer; NaN where there is none."""
Metrics = dict[str, Estimate]
"""By metric, what the scores of all answers come to."""
ASKED_WHERE_GROUNDED = ("consistency", "grounding", "same_trait", "keywords")
"""Scores that are asked only of answers to prompts that call for the persona."""


@dataclass(frozen=True)
class AnswerScorer:
    """Scores answers.

    Attributes:
        persona: with matcher, judge and bootstrap.
        sense: says which replies make sense; None: nobody does.
        functions: of the user.
        followups: say what the partner would answer; None: nobody does.
    """

    persona: PersonaEvaluator
    sense: SenseEvaluator | None = None
    functions: tuple[UserFunction, ...] = ()
    followups: FollowUps | None = None

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are made."""
        return self.persona.bootstrap

    # --- answer by answer -------------------------------------------------------------------------------------------

    def of_persona(self, answers: Sequence[Answer], others: Sequence[Persona] | None = None) -> Scores:
        """Consistency and what it is made of. `others`: hold the replies against these personas instead of their own; what
        a prompt calls for is then unknown."""
        personas = [a.persona for a in answers] if others is None else others
        gold_traits = [a.gold_traits for a in answers] if others is None else None
        scores = self.persona.evaluate_each(personas, replies_of(answers), histories_of(answers), gold_traits)
        for name in ASKED_WHERE_GROUNDED:
            rows = zip(answers, scores[name], strict=True)
            scores[name] = [math.nan if answer.gold_traits == () else score for answer, score in rows]
        return scores

    def of_grounded(self, answers: Sequence[Answer]) -> Scores:
        """`of_persona` of answers to prompts that call for it, and `sensible_consistency`: consistent, well formed and an
        answer."""
        scores, sound = self.of_persona(answers), self._sense().evaluate(histories_of(answers), replies_of(answers))
        rows = zip(scores["consistency"], sound["well_formed"], sound["answers"], strict=True)
        return {"sensible_consistency": [all_of(*row) for row in rows], **scores}

    def of_character(self, answers: Sequence[Answer]) -> Scores:
        """Whether each is in character, and why not (see `evaluate_character`)."""
        return evaluate_character(self.persona, self._sense(), answers)

    def grounding(self, answers: Sequence[Answer]) -> list[float]:
        """Whether each draws on a trait, called for or not."""
        return self.persona.evaluate_grounding([a.persona for a in answers], replies_of(answers))

    def engagement(self, answers: Sequence[Answer]) -> list[float]:
        """How engaging each answer is."""
        evaluator = EngagementEvaluator(language=self.persona.matcher.language)
        return [evaluator.calculate_engagement_score(a.history, a.reply) for a in answers]

    def of_functions(self, answers: Sequence[Answer]) -> Scores:
        """What the user's own functions say."""
        if not answers:
            return {}
        given = [a.prompt for a in answers], replies_of(answers), [a.gold for a in answers]
        return {function.label: function(*given) for function in self.functions}

    def contradicted(self, answers: Sequence[Answer], contradiction: Sequence[float]) -> list[list[str]]:
        """What each answer contradicts, where its score `contradiction` is 1."""
        wrong = [k for k, value in enumerate(contradiction) if value == 1]
        chosen = [answers[k] for k in wrong]
        personas = [a.persona for a in chosen]
        found = self.persona.find_contradictions(personas, replies_of(chosen), histories_of(chosen))
        known = dict(zip(wrong, found, strict=True))
        return [known.get(k, []) for k in range(len(answers))]

    def _sense(self) -> SenseEvaluator:
        if self.sense is None:
            raise ValueError("whether replies make sense needs a SenseEvaluator")
        return self.sense

    # --- summed up --------------------------------------------------------------------------------------------------

    def shares(self, scores: Mapping[str, Sequence[float]], answers: Sequence[Answer]) -> Metrics:
        """The mean of each score, all of which are from 0 to 1."""
        return {name: self.bootstrap.share(values, groups_of(answers)) for name, values in scores.items()}

    def means(self, scores: Mapping[str, Sequence[float]], answers: Sequence[Answer]) -> Metrics:
        """The mean of each score, whatever its range."""
        return {name: self.bootstrap.mean(values, groups_of(answers)) for name, values in scores.items()}

    def quality(self, answers: Sequence[Answer]) -> Metrics:
        """Means of the scores that were fitted to human ratings: *fitted quality*, and *overall* where a real base says what
        the partner would answer."""
        kinds = {"fitted_quality": QUALITY} | ({} if self.followups is None else {"overall": OVERALL})
        english = self.persona.matcher.language == ENGLISH  # as the ratings are that these were fitted to
        missing = [math.nan] * len(answers)
        scores = {n: score_answers(kind, answers, self.followups) if english else missing for n, kind in kinds.items()}
        return self.means(scores, answers)

    def overlap(self, answers: Sequence[Answer]) -> Metrics:
        """How much of what people said is said again."""
        quality, groups = QualityEvaluator(self.bootstrap), groups_of(answers)
        pair = replies_of(answers), [a.gold for a in answers]
        return {
            "bleu": quality.compute_bleu(*pair, groups),
            "rouge_l": quality.compute_rouge(*pair, groups),
            "f1": quality.compute_f1(*pair, groups),
        }

    def diversity(self, answers: Sequence[Answer]) -> Metrics:
        """Different words and pairs of words over all answers, and words a reply."""
        quality, replies = QualityEvaluator(self.bootstrap), replies_of(answers)
        return {
            "distinct_1": quality.compute_distinct_n(replies, 1),
            "distinct_2": quality.compute_distinct_n(replies, 2),
            "reply_words": self.bootstrap.mean([float(count_words(reply)) for reply in replies], groups_of(answers)),
        }


def gold_overlap(answers: Sequence[Answer]) -> list[float]:
    """Words of each answer that the gold reply has too (F1)."""
    return [word_f1(a.reply, a.gold) for a in answers]


def answered(
    policy: Policy, items: Sequence[Answer], progress: Progress, places: Sequence[int] | None = None
) -> list[Answer]:
    """What a policy replies to the same prompts. `places`: see `Policy.generate`."""
    replies = policy.generate([item.prompt for item in items], progress, places=places)
    return [item.with_reply(reply) for item, reply in zip(items, replies, strict=True)]


# --- answers in place of others -----------------------------------------------------------------------------------------


def gold_answers(answers: Sequence[Answer]) -> list[Answer]:
    """What people said there."""
    return [replace(a, reply=a.gold) for a in answers]


def recited(answers: Sequence[Answer]) -> list[Answer]:
    """The whole persona as the reply."""
    return [replace(a, reply=" ".join(a.persona)) for a in answers]


def strangers(personas: Sequence[Persona], seed: int) -> list[Persona]:
    """For each persona that of someone else among them (empty, and so not scored, if there is no one else); the same
    traits in another order or in capitals are no one else."""
    draw = random.Random(seed)
    different = {persona_key(persona): persona for persona in personas if persona}
    found: list[Persona] = []
    for persona in personas:
        choice = [other for key, other in different.items() if key != persona_key(persona)]
        found.append(draw.choice(choice) if choice else ())
    return found


def replies_of(answers: Sequence[Answer]) -> list[str]:
    """The reply of each answer."""
    return [a.reply for a in answers]


def histories_of(answers: Sequence[Answer]) -> list[tuple[str, ...]]:
    """The turns before each answer."""
    return [a.history for a in answers]


def groups_of(answers: Sequence[Answer]) -> list[Hashable]:
    """The group of each answer, in which it is resampled."""
    return [a.group for a in answers]
