"""The reward of a reply in PPO: a weighted sum of reward model, rules, and the user's functions.

Rules say what a reply breaks (`text/violations.py`); a reward model overlooks some of that where it pays. A function of your
own (`text/functions.py`) has its weight under its name: `--training.ppo.rewards.rewards.py:short 0.5`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfsame.text.functions import load_function
from selfsame.text.keywords import TraitMatcher
from selfsame.text.violations import VIOLATIONS, find_violations
from selfsame.training.settings import RewardWeights
from selfsame.types import Answer, Prompt

Sense = Callable[[Sequence[Prompt], Sequence[str]], Mapping[str, Sequence[float]]]
"""Gives `well_formed` and `answers` of replies, 0 where they are not; NaN is not known and costs nothing."""
VIOLATIONS_OF = {
    "contradicted": ("contradiction",),
    "recited": ("copying_unprompted", "off_topic_grounding"),
    "degenerate": ("repetition", "malformed"),
    "bland": ("ungrounded",),
    "ungrounded": ("ungrounded",),
    "off_topic_grounding": ("off_topic_grounding",),
}
"""Which rules the kinds of rejected replies break, as far as one can be found in a sample."""


@dataclass(frozen=True)
class Judging:
    """What replies are judged by, besides the reward model.

    Attributes:
        matcher: says which traits a reply draws on; None: one that knows the prompts.
        sense: says which replies make sense; None: they are not read. Where the gold reply draws on the persona, a reply
            without sense is ungrounded, whatever words it has. It is another model than the one that evaluates.
        distrusted: kinds of pairs that the reward model ranks below chance. A reply that is wrong in this way is paid no more
            than SFT's average reply.
    """

    matcher: TraitMatcher | None = None
    sense: Sense | None = None
    distrusted: Collection[str] = ()


class Rewards:
    """Measures what replies are paid for, term by term, and adds it up.

    Args:
        weights: of each term.
        answers: what people said to all prompts of the training data, as far as it is known.
        judging: what replies are judged by.

    Raises:
        ConfigError: a function of the user cannot be loaded.
    """

    def __init__(
        self,
        weights: RewardWeights,
        answers: Sequence[Answer],
        judging: Judging = Judging(),
    ) -> None:
        self.weights, self.sense = weights, judging.sense
        self.gold_traits = {answer.prompt: answer.gold_traits for answer in answers}
        self.gold = {answer.prompt: answer.gold for answer in answers}
        prompts = [answer.prompt for answer in answers]
        self.matcher = judging.matcher or TraitMatcher(text for p in prompts for text in (*p.persona, *p.history))
        self.functions = {name: load_function(name) for name in weights.functions}

    def measure(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> dict[str, Tensor]:
        """By term but for the reward model: (N,) True where a reply breaks the rule, and (N,) float32 of the user's functions.
        `prompts`: of each reply."""
        pairs = zip(prompts, replies, strict=True)
        rows = [find_violations(self.matcher, prompt, reply, self.gold_traits.get(prompt)) for prompt, reply in pairs]
        measured = {rule: torch.tensor([row[rule] for row in rows]) for rule in VIOLATIONS}
        if self.sense is not None:
            read = self.sense(prompts, replies)
            measured["malformed"] = torch.tensor([value == 0 for value in read["well_formed"]])
            measured["no_answer"] = torch.tensor([value == 0 for value in read["answers"]])
            grounded_N = torch.tensor([bool(self.gold_traits.get(prompt)) for prompt in prompts])
            # Trait words in gibberish earned the reward. Measured on a toy base: consistency rose with every stage,
            # while a reader accepted 11, 8 and 3 of 25 replies of base, SFT and PPO.
            senseless_N = measured["malformed"] | measured["no_answer"]
            measured["ungrounded"] = measured["ungrounded"] | (grounded_N & senseless_N)
        gold = [self.gold.get(prompt, "") for prompt in prompts]
        return measured | {name: torch.tensor(f(prompts, replies, gold)) for name, f in self.functions.items()}

    def total(self, scores_N: Tensor, ended_N: Tensor, measured: Mapping[str, Tensor]) -> Tensor:
        """(N,) the reward of each whole reply. `scores_N`: of the reward model; `ended_N`: whether the reply has an end."""
        w, functions = self.weights, self.weights.functions
        total_N = w.reward_model * scores_N + w.missing_eos * ~ended_N
        terms = [getattr(w, rule) * broken_N for rule, broken_N in measured.items() if rule not in functions]
        terms += [weight * measured[name].nan_to_num(0.0) for name, weight in functions.items() if name in measured]
        return total_N + torch.stack(terms).sum(0) if terms else total_N

    def shares(self, prompts: Sequence[Prompt], measured: Mapping[str, Tensor]) -> dict[str, float]:
        """How many replies break each rule, of those that could: `ungrounded` of the replies to prompts whose gold reply draws
        on the persona, `off_topic_grounding` of the others; nothing where there are none. Of a user's function the mean, and
        how many replies it did not score. `prompts`: each has as many replies."""
        traits = [self.gold_traits.get(prompt) for prompt in prompts]
        could = {
            "ungrounded": [bool(t) for t in traits],
            "off_topic_grounding": [t is not None and not t for t in traits],
        }
        shares = {}
        for term, values_N in measured.items():
            if term in self.functions:
                known = values_N[~values_N.isnan()]
                shares[f"{term}/not_scored"] = float(values_N.isnan().sum())
                shares |= {term: float(known.mean())} if len(known) else {}
                continue
            kept_P = torch.tensor(could.get(term, [True] * len(prompts)))
            replies = values_N.view(len(prompts), -1)[kept_P]
            shares |= {term: float(replies.float().mean())} if len(replies) else {}
        return shares


def distrusted(measured: Mapping[str, Tensor], kinds: Collection[str]) -> Tensor | None:
    """(N,) True where a reply breaks a rule that the reward model likes to see broken: of `kinds` of rejected replies it ranks
    fewer than half below the chosen ones. None where there is no such rule."""
    rules = {rule for kind in kinds for rule in VIOLATIONS_OF.get(kind, ()) if rule in measured}
    return torch.stack([measured[rule] for rule in sorted(rules)]).any(0) if rules else None
