"""A look at held-out people while a policy learns: what it is rewarded for beside what it is to become. Where the two part,
the reward is being gamed (Gao et al. 2023, arXiv:2210.10760)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfsame.data.pairs import TestItem
from selfsame.eval.character import evaluate_character
from selfsame.eval.persona import PersonaEvaluator
from selfsame.eval.quality import QualityEvaluator
from selfsame.eval.sense import SenseEvaluator
from selfsame.eval.speaker import Speaker
from selfsame.model import parallel
from selfsame.model.reward_model import RewardModel
from selfsame.model.roles import Roles
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.logger import Progress
from selfsame.types import Example

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

    items: Sequence[TestItem]
    talk: Sequence[TestItem]
    sides: Sequence[Example]
    evaluator: PersonaEvaluator
    sampling: SamplingSettings
    seed: int = 0
    sense: SenseEvaluator | None = None

    def __call__(self, roles: Roles) -> dict[str, float]:
        """`eval_*`: shares of consistent replies and so on, the reward of the same replies (the reward model's
        alone, and as if each had ended), words a reply; of the replies in mid-dialogue how many draw on a trait (grounding
        anywhere) and are in character, and distinct-2; perplexity of gold replies."""
        prompts, total = [item.prompt for item in self.items], len(self.items) + len(self.talk)
        with Progress(total, "held-out replies", enabled=parallel.is_main(), inner=True) as progress:
            speak = Speaker(roles, "policy", self.sampling, self.seed, progress)
            replies, talk = speak(prompts), speak([item.prompt for item in self.talk])
        scores = self.evaluator.evaluate_each(
            [p.persona for p in prompts], replies, [p.history for p in prompts], [item.traits for item in self.items]
        )
        rewards = RewardModel(roles).score(prompts, [[reply] for reply in replies])
        quality = QualityEvaluator(self.evaluator.bootstrap)
        found = {
            **{name: self.evaluator.bootstrap.share(scores[name]).value for name in SHOWN},
            "reward": sum(reward for (reward,) in rewards) / len(rewards),
            "reply_words": sum(len(reply.split()) for reply in replies) / len(replies),
            "grounding_anywhere": self.evaluator.bootstrap.share(
                self.evaluator.evaluate_grounding([item.prompt.persona for item in self.talk], talk)
            ).value,
            "distinct_2": quality.compute_distinct_n(talk, 2).value,
            "perplexity": quality.compute_perplexity(roles, "policy", self.sides)["perplexity"].value,
        }
        if self.sense is not None and self.talk:
            character = evaluate_character(self.evaluator, self.sense, self.talk, talk)
            found |= {name: self.evaluator.bootstrap.share(values).value for name, values in character.items()}
        return {f"eval_{name}": value for name, value in found.items()}
