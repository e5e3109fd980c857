"""Evaluation on held-out people while a policy learns: the reward next to what the policy is to become.

Where the two part, the reward is being gamed (Gao et al. 2023, arXiv:2210.10760).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfsame.eval.scoring import AnswerScorer, answered, replies_of
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.quality import QualityEvaluator
from selfsame.metrics.sense import SenseEvaluator
from selfsame.model import parallel
from selfsame.model.reward_model import RewardModel
from selfsame.model.roles import Roles
from selfsame.rollout.policy import Policy
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.logger import Progress
from selfsame.types import Answer, Example

SHOWN = ("consistency", "grounding", "contradiction", "copying_unprompted")


@dataclass(frozen=True)
class PolicyEvaluation:
    """Replies of the `policy` role to the same prompts each time, with the same random numbers.

    Args:
        items: prompts that call for the persona.
        talk: prompts from anywhere in mid-dialogue.
        sides: dialogues whose gold replies the perplexity is of.
        evaluator: scores the replies.
        sampling: how replies are sampled.
        seed: of the random numbers.
        sense: says which replies make sense; None: whether they are in character is not said.
    """

    items: Sequence[Answer]
    talk: Sequence[Answer]
    sides: Sequence[Example]
    evaluator: PersonaEvaluator
    sampling: SamplingSettings
    seed: int = 0
    sense: SenseEvaluator | None = None

    def __call__(self, roles: Roles) -> dict[str, float]:
        """`eval_*`: shares of consistent replies and so on, the reward of the same replies (the reward model's
        alone, and as if each had ended), words a reply; of the replies in mid-dialogue how many draw on a trait (grounding
        anywhere) and are in character, and distinct-2; perplexity of gold replies."""
        policy = Policy(roles, "policy", self.sampling, self.seed)
        total = len(self.items) + len(self.talk)
        with Progress(total, "held-out replies", enabled=parallel.is_main(), inner=True) as progress:
            answers, talk = (answered(policy, items, progress) for items in (self.items, self.talk))
        scorer = AnswerScorer(self.evaluator, self.sense)
        scores, prompts = scorer.of_persona(answers), [a.prompt for a in answers]
        rewards = RewardModel(roles).score(prompts, [[a.reply] for a in answers])
        quality = QualityEvaluator(self.evaluator.bootstrap)
        share = self.evaluator.bootstrap.share
        found = {
            **{name: share(scores[name]).value for name in SHOWN},
            "reward": sum(reward for (reward,) in rewards) / len(rewards),
            "reply_words": sum(len(a.reply.split()) for a in answers) / len(answers),
            "grounding_anywhere": share(scorer.grounding(talk)).value,
            "distinct_2": quality.compute_distinct_n(replies_of(talk), 2).value,
            "perplexity": quality.compute_perplexity(roles, "policy", self.sides)["perplexity"].value,
        }
        if self.sense is not None and self.talk:
            found |= {name: share(values).value for name, values in scorer.of_character(talk).items()}
        return {f"eval_{name}": value for name, value in found.items()}
