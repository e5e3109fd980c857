"""What comparing several samples, and choosing among several replies, is planned to take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_plan import CPU, FACTOR, a_workload, kept, probe_on, settings_of, small

from selfsame.model.load import load_roles
from selfsame.plan.estimate import plan
from selfsame.training.reward import RewardTrainer
from selfsame.training.settings import RewardSettings
from selfsame.types import PreferencePair, Prompt

MISSED, UNASKED = {"comparison_share": 1.0}, {"off_topic_share": 1.0}


@pytest.mark.parametrize("missed", [0.0, 1.0])
def test_the_reward_model_keeps_what_was_planned(tiny_models, missed):
    """Pairs, and comparisons of four samples of the longest length."""
    settings, length = settings_of(tiny_models()), 10
    roles = load_roles(settings)
    chosen = {"batch_size": 4, "sampled_share": 0.0, "comparison_share": missed, "comparison_samples": 4}
    pair = PreferencePair(Prompt(("I sing.",)), "Yes.", "No.", "bland")
    trainer = RewardTrainer(roles, pairs=[pair] * 4, settings=RewardSettings(**chosen | {"comparison_share": 0.0}))
    rows: list[Any] = [([5] * 30, [[6] * 3, [7] * 4], 1)] * 4
    if missed:  # half of them, at a share as large as that of the pairs
        rows = rows[:2] + [([5] * 30, [[6] * length] * 4, 2)] * 2
    (parts,) = trainer.minibatches(rows, 0)
    roles.parameters("reward")
    real = max(kept(roles, lambda p=part: trainer.loss(p)) for part in parts)
    work = replace(a_workload(prompts=[[0] * 20]), pairs=(([5] * 30, [6] * 3, [7] * 4),))
    probe = probe_on(settings, work, {"reward": chosen, "ppo": {"max_new_tokens": length}})
    probe.prepare("sft")
    worst = probe.groups("reward", probe.config).worst
    assert 1 / FACTOR < worst.saved / real < FACTOR, (worst.saved, real)
    assert worst.tokens >= max(len(prompt) + sum(map(len, replies)) for prompt, replies, _ in rows)


def test_comparing_samples_takes_as_many_steps_as_there_can_be_prompts(tiny_models):
    def planned(**reward: Any) -> tuple[int, float]:
        chosen = {"batch_size": 6, "epochs": 1.0, "sampled_share": 0.0, "comparison_share": 0.0} | reward
        config = small(tiny_models(), run={"stages": ["sft", "reward"]}, training={"reward": chosen})
        stage = plan(config, CPU).stages[-1]
        return stage.steps, stage.seconds

    pairs = small(tiny_models()).pairs.count
    alone, missed, unasked, both = (planned(**s) for s in ({}, MISSED, UNASKED, {**MISSED, **UNASKED}))
    assert [steps for steps, _ in (alone, missed, unasked, both)] == [
        -(-pairs * part // 36) for part in (6, 11, 7, 12)
    ]  # a sixth of the pairs recite: their prompts do not call for the persona, the others' do
    assert alone[1] < unasked[1] < missed[1] < both[1]
    assert planned(off_topic_share=0.5) == unasked


def test_the_best_of_several_takes_longer_and_more_so_with_ppo(tiny_models):
    def seconds(*stages: str, **evaluation: Any) -> tuple[float, int]:
        config = small(tiny_models(), run={"stages": [*stages, "evaluate"]}, evaluation=evaluation)
        stage = plan(config, CPU).stages[-1]
        return stage.seconds, stage.steps

    single, several = (seconds("sft", "reward", "ppo", best_of=n) for n in (1, 8))
    without = seconds("sft", "reward", best_of=8)
    assert [systems for _, systems in (single, several, without)] == [3, 5, 3]
    assert single[0] < without[0] < several[0] < 2 * 8 * single[0]  # prompts are read once for all their replies
    named = small(tiny_models(), run={"stages": ["evaluate"], "systems": ["ppo_best_of_n"]}, evaluation={"best_of": 8})
    stage = plan(named, CPU).stages[-1]
    assert stage.steps == 1 and without[0] - single[0] < stage.seconds < without[0]
    assert seconds("sft", "ppo", best_of=8) == seconds("sft", "ppo", best_of=1)  # nothing to choose by


def test_an_evaluation_alone_keeps_the_roles_of_what_it_measures(tiny_models):
    def adapters(*systems: str) -> float:
        run = {"stages": ["evaluate"], "systems": systems}
        return plan(small(tiny_models(), run=run, evaluation={"best_of": 2}), CPU).stages[-1].adapters

    sft, reward = adapters("sft"), adapters("sft_best_of_n") - adapters("sft")
    assert adapters("base") == 0 < sft < reward  # which has a head, too
    assert adapters("ppo", "dpo") == sft and adapters("sft", "ppo_best_of_n") == 2 * sft + reward
