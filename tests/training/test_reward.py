"""Pairs of samples, which the reward trainer adds: against what the person said, and of two samples."""

from __future__ import annotations

import pytest
from stages import LORA, pairs
from test_roles import load, scramble

from selfsame.data.keywords import TraitMatcher
from selfsame.errors import RunError
from selfsame.rollout.engine import RolloutEngine
from selfsame.training.reward import RewardTrainer
from selfsame.training.sampled import PairSampler, missed_pairs
from selfsame.training.settings import RewardSettings
from selfsame.types import PreferencePair, Prompt


def trainer(folder, share, seed=0, sft=True, missed=0.0):
    roles = load(folder, lora=LORA)
    if sft:
        roles.add("sft")
        scramble(roles, "sft")
    settings = RewardSettings(sampled_share=share, missed_share=missed, missed_samples=4)
    return RewardTrainer(roles, pairs=pairs() * 8, validation=pairs(), settings=settings, seed=seed, max_new_tokens=12)


def ends_often(monkeypatch, roles):
    """A random model hardly ever ends a reply: here every fifth token is an end."""
    sample = RolloutEngine.sample
    monkeypatch.setattr(RolloutEngine, "sample", lambda self, *a: [[end(r) for r in g] for g in sample(self, *a)])

    def end(reply):
        return type(reply)(reply.ids[:5] + [roles.processor.end_id], [*reply.logprobs[:6]], True)


def test_half_of_the_pairs_come_again_against_samples(tiny_models, monkeypatch):
    ends_often(monkeypatch, load(tiny_models(), lora=LORA))
    made = trainer(tiny_models(), 0.5)
    own, sampled = made.pairs[:24], made.pairs[24:]
    assert own == pairs() * 8 and 8 <= len(sampled) <= 12
    expected = [(p.prompt, p.chosen) for p in own[:12]]
    assert all((p.prompt, p.chosen) in expected and p.reason == "sampled" for p in sampled)
    assert all(p.rejected.strip() and p.rejected != p.chosen for p in sampled)
    assert len({p.rejected for p in sampled}) > 1  # the same prompts, other random numbers
    assert [p.reason for p in made.validation[3:]] == ["sampled"] * 2
    assert made.steps == -(-2 * len(made.pairs) // made.settings.batch_size)
    assert trainer(tiny_models(), 0.5).pairs == made.pairs != trainer(tiny_models(), 0.5, seed=1).pairs


def test_no_pairs_against_samples(tiny_models, monkeypatch):
    ends_often(monkeypatch, load(tiny_models(), lora=LORA))
    assert trainer(tiny_models(), 0.0).pairs == pairs() * 8
    assert trainer(tiny_models(), 1.0, sft=False).pairs == pairs() * 8


def test_a_training_does_not_go_on_with_other_samples(tiny_models, monkeypatch):
    ends_often(monkeypatch, load(tiny_models(), lora=LORA))
    begun, other = trainer(tiny_models(), 0.5), trainer(tiny_models(), 0.5, seed=1)
    trainer(tiny_models(), 0.5).load_state(begun.state())
    with pytest.raises(RunError, match="not those that the training began with"):
        other.load_state(begun.state())


def test_of_two_samples_the_one_that_keeps_to_the_persona_is_better(tiny_models, monkeypatch):
    groups = (
        ("I have dogs", "hm", "I teach chemistry", ""),
        ("hm", "", "ok", "dogs"),
        ("sea", "hm", "near the sea", "ah"),
    )
    said = iter([text for group in groups + groups for text in group])
    monkeypatch.setattr(PairSampler, "_text", lambda self, reply: next(said))
    made = trainer(tiny_models(), 0.0, missed=1.0)
    first, third = pairs()[0].prompt, pairs()[2].prompt  # of the replies to the second prompt none keeps to the persona
    expected = [(first, "I have dogs", "I teach chemistry"), (third, "sea", "hm"), (third, "near the sea", "ah")]
    assert [(p.prompt, p.chosen, p.rejected) for p in made.pairs[24:]] == expected
    assert [(p.prompt, p.chosen, p.rejected) for p in made.validation[3:]] == expected
    assert {p.reason for p in made.pairs[24:]} == {"missed"}
    said = iter([text for group in groups for text in group] * 2)
    assert len(trainer(tiny_models(), 0.0, missed=0.05).pairs) == 24 + 1  # one of 24


def test_a_reply_with_a_fault_is_the_worse_one():
    prompt, matcher = Prompt(("I have two dogs.", "I teach chemistry."), ("Any pets?",)), TraitMatcher()
    better, worse = "Yes, I own dogs.", "I have two dogs. I teach chemistry."
    assert missed_pairs(prompt, ["", worse, better], [0], matcher) == [PreferencePair(prompt, better, worse, "missed")]
    assert missed_pairs(prompt, [better, "My dogs bark."], [0], matcher) == []  # both keep to it
    assert missed_pairs(prompt, ["I sing.", worse, ""], [0], matcher) == []  # none does
    told = prompt.followed_by("Dogs, I have dogs!", "Really?")
    assert missed_pairs(told, ["Yes, dogs.", worse], [0], matcher) != []  # telling again is no matter of the persona
    others = [
        "I sing in a very big choir each week.",
        "Dogs, big ones, and they sing with me each week.",
        "I sing.",
        "Oh.",
    ]
    made = missed_pairs(prompt, [better, *others, better], [0], matcher)
    assert [(p.chosen, p.rejected) for p in made] == [(others[1], others[0]), (better, others[2])]
