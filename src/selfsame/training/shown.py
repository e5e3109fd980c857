"""Held-out prompts that a role answers again and again while it learns, for people to read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

from selfsame.data.pairs import PreferenceGenerator
from selfsame.model.reward_model import RewardModel
from selfsame.model.roles import Roles
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.types import Prompt


def shown_prompts(held_out: PreferenceGenerator, count: int) -> list[Prompt]:
    """Prompts that call for the persona and prompts from anywhere in mid-dialogue in turns; the same for every stage."""
    tests = held_out.create_test_sets(count, count)
    in_turns = chain.from_iterable(zip_longest(tests.consistency, tests.engagement))
    return list(dict.fromkeys(item.prompt for item in in_turns if item))[:count]


def answers(
    roles: Roles, role: str, prompts: Sequence[Prompt], reward: RewardModel | None = None
) -> list[dict[str, Any]]:
    """Rows for samples.jsonl: the most likely reply of a role to each prompt, which takes no random number. `prompt` tells the
    prompt from others; `reward`: what gives one to each reply."""
    length = min(SamplingSettings().max_new_tokens, roles.processor.max_length // 2)
    greedy = SamplingSettings(temperature=0, max_new_tokens=length)
    replies = RolloutEngine(roles).reply(role, prompts, greedy)
    scores = reward.score(prompts, [[reply] for reply in replies]) if reward else [[None]] * len(prompts)
    return [
        {
            "prompt": prompt_id(prompt),
            "persona": list(prompt.persona),
            "history": list(prompt.history),
            "reply": reply,
            "reward": score,
        }
        for prompt, reply, (score,) in zip(prompts, replies, scores, strict=True)
    ]


def prompt_id(prompt: Prompt) -> str:
    """The same for the same prompt, in any run."""
    said = repr((prompt.persona, prompt.history))
    return hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()[:12]
