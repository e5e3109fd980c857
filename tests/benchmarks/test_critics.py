"""The comparison of critics: each is trained from the same start, and compared where the policies are equally far from it."""

from __future__ import annotations

import pytest
from stages import ppo_trainer, prompts

from benchmarks import critics


def course(*points):
    return {"points": [{"step": k, "kl": kl, "reward": reward} for k, (kl, reward) in enumerate(points)]}


def test_rewards_are_compared_at_the_largest_kl_that_all_reached():
    runs = {
        "adapter/0": course((0, 0), (1, 1), (3, 2)),
        "reward/0": course((0, 0), (2, 1)),
        "policy/0": course((0, 0), (4, 4)),
        "none/0": course((0, 0), (2.5, 5), (2.4, 5)),
        "none/1": course((0, 0), (9, 9)),  # a seed that not every critic has
    }
    text = critics.table([{"course": {"steps": 2, "prompts": 3, "every": 1, "held_out": 5}, "runs": runs}])
    rows = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in text.splitlines() if line.startswith("| ")
    }
    assert "KL of 2.00" in text and "1 seeds" in text
    assert {name: rows[name][0] for name in critics.CRITICS} == {
        "adapter": "1.500", "reward": "1.000", "policy": "2.000", "none": "4.000"
    }  # fmt: skip
    assert rows["none"][1] == "2.500" and rows["adapter"][1] == "–"


@pytest.mark.parametrize("critic", critics.CRITICS)
def test_a_course_of_a_critic(tiny_models, critic):
    trainer = ppo_trainer(tiny_models(), critic=critic, steps=2)
    made = [critics._train(trainer.roles, prompts(), prompts()[:3], trainer.settings, seed, 1) for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]
    points = made[0]["points"]
    assert [p["step"] for p in points] == [0, 1, 2]
    assert points[0]["kl"] == pytest.approx(0, abs=1e-2) and points[2]["kl"] != points[0]["kl"]
    assert points[0]["reward"] == made[2]["points"][0]["reward"]  # the same start, the same random numbers
