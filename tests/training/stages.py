"""Small stages for the tests of training: a tiny random model, a few dialogues, a few steps."""

from __future__ import annotations

from typing import Any

from test_roles import load, scramble

from selfsame.model.settings import LoraSettings
from selfsame.training.ppo import PPOTrainer
from selfsame.training.settings import PPOSettings
from selfsame.types import Dialogue, Example, PreferencePair, Prompt, Turn

PERSONAS = (("I have two dogs.", "I teach chemistry."), ("I drive a bus.", "I sing."), ("I live near the sea.",))
LORA = LoraSettings(rank=4)


def examples() -> list[Example]:
    made = []
    for k, persona in enumerate(PERSONAS):
        turns = [
            Turn(1 + i % 2, text)
            for i, text in enumerate(("Hello!", "Hi.", f"Tell me {k}", persona[0], "I see.", persona[-1]))
        ]
        made.append(Dialogue(f"d{k}", (("I ask.",), persona), tuple(turns)).seen_by(2))
    return made


def pairs() -> list[PreferencePair]:
    return [
        PreferencePair(e.prompt(1), e.replies[1], PERSONAS[(k + 1) % 3][0], "persona_swapped")
        for k, e in enumerate(examples())
    ]


def prompts() -> list[Prompt]:
    return [e.prompt(k) for e in examples() for k in range(3)]


VARIANTS: dict[str, dict[str, Any]] = {
    "adapter": {"value_model": "adapter"},
    "reward": {"value_model": "reward_states"},
    "policy": {"value_model": "policy_states"},
    "none": {"advantage_estimator": "grpo"},
}
"""Settings of PPO by what its value reads."""


def ppo_trainer(
    folder: Any, record: Any = None, seed: int = 0, lora: LoraSettings = LORA, **settings: Any
) -> PPOTrainer:
    """PPO on random `sft` and `reward` roles (the same every time)."""
    roles = load(folder, lora=lora)
    roles.add("sft")
    scramble(roles, "sft")
    roles.add("reward", like="sft")
    scramble(roles, "reward", 2)
    values = {
        "steps": 3,
        "prompts_per_step": 4,
        "samples_per_prompt": 2,
        "max_new_tokens": 10,
        "epochs": 2,
        "minibatches": 2,
    } | settings
    return PPOTrainer(roles, prompts=prompts(), settings=PPOSettings(**values), seed=seed, record=record)
