"""A chat in which the reward model chooses among several replies."""

from __future__ import annotations

from test_roles import load, scramble

from selfsame.model.settings import LoraSettings
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.policy import Policy
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve.chat import Conversation, cut_short
from selfsame.types import Prompt

SAMPLING = SamplingSettings(max_new_tokens=8)
PERSONA = ("I have two dogs.",)


def test_each_turn_of_a_chat_is_the_best_of_several(tiny_models):
    roles = load(tiny_models(), lora=LoraSettings(rank=4))
    for k, role in enumerate(("policy", "reward")):
        roles.add(role)
        scramble(roles, role, k)
    engine, prompt, said = RolloutEngine(roles), Prompt(PERSONA, ("Any pets?",)), []
    for seed in range(4):
        one, best = (Conversation(Policy(roles, "policy", SAMPLING, seed, n), PERSONA).say("Any pets?") for n in (1, 6))
        for said_now, n in ((one, 1), (best, 6)):
            (reply,) = engine.replies("policy", [prompt], SAMPLING, seed, best_of=n)
            (text,) = engine.reply("policy", [prompt], SAMPLING, seed, best_of=n)
            assert text == roles.processor.decode_reply(reply.ids)
            assert said_now == (text if reply.ended else cut_short(text))
        said.append((one, best))
    assert any(one != best for one, best in said)
    greedy = SAMPLING.model_copy(update={"temperature": 0.0})  # all replies are the same one
    assert engine.reply("policy", [prompt], greedy, best_of=6) == engine.reply("policy", [prompt], greedy)
