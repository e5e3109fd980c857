"""What PPO pays for: the weighted sum, rules counted where they could be broken, and functions of the user."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from stages import ppo_trainer, prompts

from selfsame.errors import ConfigError, RunError
from selfsame.text.violations import VIOLATIONS
from selfsame.training.rewards import Rewards
from selfsame.training.settings import RewardWeights
from selfsame.types import Answer


def answered(prompts, gold_traits=None, gold=None):
    """What people answered to the prompts, as far as it is known."""
    rows = zip(prompts, gold or [""] * len(prompts), gold_traits or [None] * len(prompts), strict=True)
    return [Answer(prompt, text, text, traits) for prompt, text, traits in rows]


def test_every_reward_has_its_own_weight(tiny_models):
    """Each rule alone, against the sum by hand."""
    weights = dict(
        zip((*VIOLATIONS, "malformed", "no_answer"), (-1.0, -2.0, -4.0, -8.0, -16.0, -32.0, -64.0, -128.0), strict=True)
    )
    rewards = Rewards(RewardWeights(reward_model=0.5, missing_eos=-0.25, **weights), answered(prompts()))
    scores_N, ended_N = torch.tensor([2.0, -2.0]), torch.tensor([True, False])
    for rule, weight in weights.items():
        broken = {name: torch.tensor([name == rule, False]) for name in weights}
        assert rewards.total(scores_N, ended_N, broken).tolist() == [1.0 + weight, -1.25]
    assert rewards.total(scores_N, ended_N, {}).tolist() == [1.0, -1.25]
    with pytest.raises(ValueError, match="less than or equal to 0"):
        RewardWeights(ungrounded=3)


def test_rules_and_the_missing_end_reach_the_last_token(tiny_models, monkeypatch):
    def broken(matcher, prompt, text, gold_traits):
        return dict.fromkeys(VIOLATIONS, False) | {"contradiction": gold_traits == (0,), "copying_unprompted": True}

    monkeypatch.setattr("selfsame.training.rewards.find_violations", broken)
    weights = {"contradiction": -0.5, "copying_unprompted": -0.25, "missing_eos": -2.5}
    trainer = ppo_trainer(tiny_models(), rewards=weights)
    trainer.rewards.gold_traits = {trainer.prompts[0]: (0,), trainer.prompts[1]: None}
    rollout = trainer.rollout(trainer.prompts[:2])
    assert rollout.measured["contradiction"].tolist() == [True, True, False, False]  # both replies to the first prompt
    assert not rollout.ended_N.all()
    cost_N = torch.tensor([0.75, 0.75, 0.25, 0.25]) + 2.5 * ~rollout.ended_N
    torch.testing.assert_close(rollout.scores_N - trainer.scores(rollout), cost_N)
    free = replace(rollout, measured={}, ended_N=torch.ones_like(rollout.ended_N))
    taken_NR = trainer.compute_rewards(free) - trainer.compute_rewards(rollout)
    torch.testing.assert_close(taken_NR.sum(1), cost_N)
    assert ((taken_NR != 0).sum(1) == 1).all()
    metrics = trainer.metrics(trainer.evaluate_rollout(trainer.prompts[:2], rollout))
    assert (metrics["contradiction"], metrics["copying_unprompted"], metrics["repetition"]) == (0.5, 1.0, 0.0)
    assert metrics["ungrounded"] == 0 and "off_topic_grounding" not in metrics  # of the second prompt nothing is known


def test_a_rule_is_counted_where_it_could_be_broken():
    one, two, three = prompts()[:3]
    rewards = Rewards(RewardWeights(), answered([one, two, three], [(0,), (), None]))
    broken = torch.tensor([True, False, True, True, True, True])
    measured = dict.fromkeys(("ungrounded", "off_topic_grounding", "copying_unprompted"), broken)
    assert rewards.shares([one, two, three], measured) == {
        "ungrounded": 0.5,
        "off_topic_grounding": 1.0,
        "copying_unprompted": pytest.approx(5 / 6),
    }


def test_a_function_of_the_user_is_paid(tiny_models, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def longer(prompts, replies, gold):\n"
        "    assert prompts[0].persona and len(prompts) == len(replies) == len(gold)\n"
        "    return [float('nan') if g == 'skip' else float(len(g)) for g in gold]\n"
    )
    name, two = f"{file}:longer", prompts()[:2]
    rewards = Rewards(RewardWeights(**{name: 0.5}), answered(two, gold=["four", "skip"]))
    measured = rewards.measure([two[0], two[0], two[1], two[1]], ["a", "b", "c", "d"])
    assert measured[name].tolist()[:2] == [4.0, 4.0] and all(map(math.isnan, measured[name].tolist()[2:]))
    total_N = rewards.total(torch.zeros(4), torch.ones(4, dtype=torch.bool), measured)
    assert total_N.tolist() == [2.0, 2.0, 0.0, 0.0]  # what is not scored pays nothing
    shares = rewards.shares(two, measured)
    assert shares[name] == 4.0 and shares[f"{name}/not_scored"] == 2.0
    trainer = ppo_trainer(tiny_models(), rewards={name: 1.0})
    assert f"{name}/not_scored" in trainer.metrics(trainer.collect(0))


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("    raise KeyError('boom')", RunError, "mine.py:f failed with KeyError.*'hello'.*resume"),
        ("    return [1.0]", RunError, "mine.py:f gave 1 numbers for 2 replies"),
        ("    return [1.0, float('inf')]", RunError, "infinite number for the reply 'there'"),
        ("    return ['x', 2]", RunError, "mine.py:f failed with ValueError"),
    ],
)
def test_a_function_that_fails_is_named_with_a_reply(tmp_path, body, error, said):
    file = tmp_path / "mine.py"
    file.write_text(f"def f(prompts, replies, gold):\n{body}\n")
    rewards = Rewards(RewardWeights(**{f"{file}:f": 1}), answered(prompts()))
    with pytest.raises(error, match=said):
        rewards.measure(prompts()[:2], ["hello", "there"])


def test_a_function_that_is_not_there_is_named_before_training(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def f(prompts, replies, gold): ...\n")
    for name, said in (("no.py:f", "there is no file no.py"), (f"{file}:g", "has no function g")):
        with pytest.raises(ConfigError, match=said):
            Rewards(RewardWeights(**{name: 1}), answered(prompts()))
    file.write_text("1 / 0")
    with pytest.raises(ConfigError, match="fails: ZeroDivisionError"):
        Rewards(RewardWeights(**{f"{file}:f": 1}), answered(prompts()))
