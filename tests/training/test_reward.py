"""The reward trainer's own pairs: the `sft` role's samples against what the person said."""

from __future__ import annotations

import pytest
from stages import LORA, pairs
from test_roles import load, scramble

from selfsame.errors import RunError
from selfsame.rollout.engine import RolloutEngine
from selfsame.training.reward import RewardTrainer
from selfsame.training.settings import RewardSettings


def trainer(folder, share, seed=0, sft=True):
    roles = load(folder, lora=LORA)
    if sft:
        roles.add("sft")
        scramble(roles, "sft")
    settings = RewardSettings(sampled_share=share)
    return RewardTrainer(roles, pairs=pairs() * 8, validation=pairs(), settings=settings, seed=seed, max_new_tokens=12)


def ends_often(monkeypatch, roles):
    """A random model hardly ever ends a reply: here every fifth token is an end."""
    sample = RolloutEngine.sample
    monkeypatch.setattr(RolloutEngine, "sample", lambda self, *a: [[end(r)] for (r,) in sample(self, *a)])

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
    with pytest.raises(RunError, match="not those that its training began with"):
        other.load_state(begun.state())
