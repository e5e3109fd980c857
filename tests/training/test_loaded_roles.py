"""A trainer leaves roles that are there as they are, until it trains: then they begin anew."""

from __future__ import annotations

import pytest
import torch
from evaluator_models.settings import JudgeSettings
from evaluator_models.trainer import JudgeTrainer
from stages import LORA, VARIANTS, examples, pairs, prompts
from test_loop import make, record
from test_roles import load, scramble

from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.training.dpo import DPOTrainer
from selfsame.training.ppo import PPOTrainer
from selfsame.training.reward import RewardTrainer
from selfsame.training.settings import DPOSettings, PPOSettings, RewardSettings, SFTSettings
from selfsame.training.sft import SFTTrainer
from selfsame.types import LabelledPair

ROLES = ("sft", "reward", "policy", "value", "judge")
SHORT = {"max_steps": 2, "batch_size": 2}
SAMPLING = SamplingSettings(max_new_tokens=12, temperature=0)
NONE = {"sampled_share": 0.0, "comparison_share": 0.0, "normalise_samples": 4}
PPO = {"steps": 2, "prompts_per_step": 2, "samples_per_prompt": 2, "max_new_tokens": 8}
MADE = {
    "sft": lambda roles: SFTTrainer(roles, train=examples(), settings=SFTSettings(**SHORT)),
    "reward": lambda roles: RewardTrainer(roles, pairs=pairs(), settings=RewardSettings(**SHORT, **NONE)),
    "dpo": lambda roles: DPOTrainer(roles, pairs=pairs(), settings=DPOSettings(**SHORT)),
    "judge": lambda roles: JudgeTrainer(
        roles, pairs=[LabelledPair("I sing.", "I sing, thanks.", "entailment")] * 3, settings=JudgeSettings(**SHORT)
    ),
    **{
        f"ppo-{variant}": lambda roles, chosen=chosen: PPOTrainer(
            roles, prompts=prompts(), settings=PPOSettings(**chosen, **PPO)
        )
        for variant, chosen in VARIANTS.items()
    },
}


def loaded(tiny_models, folder):
    """Roles on a fresh model that were all read from files."""
    if not folder.exists():
        roles = load(tiny_models(), lora=LORA)
        for seed, role in enumerate(ROLES):
            roles.add(role)
            scramble(roles, role, seed + 3)
            roles.save(role, folder / role)
    roles = load(tiny_models(), lora=LORA)
    for role in ROLES:
        roles.load(role, folder / role)
    return roles


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_trainer_of_a_loaded_role_speaks_as_that_role(tiny_models, tmp_path):
    trained = make("sft", tiny_models(), record(tmp_path, "sft"), epochs=20, learning_rate=0.01)
    trained.train()
    trained.roles.save("sft", tmp_path / "role")
    roles, base = load(tiny_models(), lora=LORA), load(tiny_models(), lora=LORA)
    roles.load("sft", tmp_path / "role")
    expected = RolloutEngine(roles).reply("sft", prompts(), SAMPLING)
    assert expected != RolloutEngine(base).reply(None, prompts(), SAMPLING)
    for name in ("sft", "reward"):
        MADE[name](roles)
        assert SFTTrainer(roles, train=examples()).generate_samples(prompts(), SAMPLING) == expected, name
    assert trained.generate_samples(prompts(), SAMPLING) == expected


@pytest.mark.parametrize("stage", MADE)
def test_roles_that_are_there_stay_until_training_begins(tiny_models, tmp_path, stage):
    roles = loaded(tiny_models, tmp_path / "roles")
    before = {role: roles.state(role) for role in ROLES}
    trainer = MADE[stage](roles)
    assert all(same(roles.state(role), before[role]) for role in ROLES)
    trainer.train()
    left = [role for role in ROLES if role not in {*trainer.trained, *(["value"] if "ppo" in stage else [])}]
    assert all(same(roles.state(role), before[role]) for role in left)
    fresh = loaded(tiny_models, tmp_path / "roles")
    for role in set(ROLES) - set(left):
        fresh.remove(role)
    alone = MADE[stage](fresh)  # makes them itself
    alone.train()
    assert all(same(roles.state(role), fresh.state(role)) for role in trainer.trained)
    assert ("value" in roles.names) == ("value" in fresh.names)
    again = {role: roles.state(role) for role in trainer.trained}
    MADE[stage](roles).train()
    assert all(same(roles.state(role), again[role]) for role in trainer.trained)


def test_sft_begins_with_given_weights_and_resumes_with_its_own(tiny_models, tmp_path):
    earlier = load(tiny_models(), lora=LORA)
    earlier.add("sft")
    scramble(earlier, "sft", 5)
    earlier.save("sft", tmp_path / "role")

    def trainer(max_steps):
        settings = SFTSettings(start_from=str(tmp_path / "role"), **SHORT | {"max_steps": max_steps})
        roles = load(tiny_models(), lora=LORA)
        return SFTTrainer(roles, train=examples(), settings=settings, record=record(tmp_path / "run", "sft", 1))

    begun = trainer(2)
    assert same(begun.roles.state("sft"), earlier.state("sft"))
    begun.train()
    trained = begun.roles.state("sft")
    assert not same(trained, earlier.state("sft"))
    resumed = trainer(2)
    resumed.train()
    assert same(resumed.roles.state("sft"), trained)
