"""PPO's reward asks for sense, pays no fault that the reward model likes, and the best policy is kept."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from safetensors.torch import load_file
from stages import ppo_trainer
from test_loop import record

from selfsame.training.rewards import Judging


def test_a_reply_without_sense_is_paid_less_and_is_ungrounded(tiny_models, monkeypatch):
    def sense(prompts, replies):
        assert len(prompts) == len(replies) == 4
        return {"well_formed": [0.0, 1.0, 1.0, 1.0], "answers": [1.0, 0.0, math.nan, 1.0]}

    trainer = ppo_trainer(tiny_models(), rewards={"malformed": -2, "no_answer": -3, "missing_eos": 0, "ungrounded": -8})
    trainer.rewards.sense = sense
    one, two = trainer.prompts[:2]
    trainer.rewards.gold_traits = {one: (0,), two: ()}
    monkeypatch.setattr(
        type(trainer.rewards.matcher), "drawn", lambda self, persona, reply: (0,)
    )  # all have a trait's word
    broken = trainer.rollout([one, two]).measured
    assert broken["malformed"].tolist() == [True, False, False, False]
    assert broken["no_answer"].tolist() == [False, True, False, False]  # what is not known costs nothing
    assert broken["ungrounded"].tolist() == [True, True, False, False]
    mine = {name: broken[name] for name in ("malformed", "no_answer", "ungrounded")}
    paid_N = trainer.rewards.total(torch.zeros(4), torch.ones(4, dtype=torch.bool), mine)
    assert paid_N.tolist() == [-10.0, -11.0, 0.0, 0.0]


def test_a_violation_that_the_reward_model_likes_is_not_paid(tiny_models):
    trainer = ppo_trainer(tiny_models(), rewards={"missing_eos": 0})
    trainer.judging = Judging(distrusted=("contradicted",))
    rollout = trainer.rollout(trainer.prompts[:2])
    rollout = replace(
        rollout,
        scores_N=torch.tensor([2.0, -1.0, 2.0, -1.0]),
        measured={"contradiction": torch.tensor([True, True, False, False])},
    )
    assert trainer.scores(rollout).tolist() == [0.0, -1.0, 2.0, -1.0]
    trainer.judging = Judging()
    assert trainer.scores(rollout).tolist() == [2.0, -1.0, 2.0, -1.0]


def test_the_best_policy_that_was_evaluated_is_kept(tiny_models, tmp_path):
    seen, values = {}, iter([0.5, 0.8, 0.1])

    def evaluate_policy(roles):
        value = next(values)
        seen[value] = roles.state("policy")
        return {"eval_in_character": value}

    trainer = ppo_trainer(tiny_models(), steps=3, eval_every=1, record=record(tmp_path, "ppo"))
    trainer.evaluate_policy, trainer.eval_every = evaluate_policy, 1
    trainer.train()
    kept, last = trainer.roles.state("policy"), seen[0.1]
    assert all(torch.equal(kept[name], tensor) for name, tensor in seen[0.8].items())
    assert any(not torch.equal(kept[name], tensor) for name, tensor in last.items())
    folder = trainer.record.checkpoints.latest()
    saved, best = (load_file(folder / role / "adapter_model.safetensors") for role in ("policy", "best"))
    assert all(torch.equal(saved[name], best[name]) for name in saved)


def test_begin_forgets_what_a_training_learned_beside_its_roles(tiny_models):
    trainer = ppo_trainer(tiny_models(), steps=2, eval_every=1, kl_coef=0.1, kl_target=1e-6, kl_horizon=1)
    trainer.evaluate_policy, trainer.eval_every = (lambda roles: {"eval_in_character": 0.5}), 1
    trainer.train()
    assert trainer.kl.coef != 0.1 and trainer.best == 0.5 and "best" in trainer.roles.names
    trainer.begin()
    assert trainer.kl.coef == 0.1 and trainer.best is None and "best" not in trainer.roles.names
