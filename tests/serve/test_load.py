"""`selfsame.load`: from a run or a model to a conversation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import selfsame
from commands import tiny_run
from selfsame.cli import main
from selfsame.errors import ConfigError, DataError
from selfsame.rollout.policy import Policy
from selfsame.serve.chat import Conversation

PERSONA = ["I have two dogs.", " I drive  a night bus. "]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_models):
    directory = tmp_path_factory.mktemp("runs") / "demo"
    stages = ["--run.stages", "sft", "reward", "ppo", "dpo"]
    assert main([*tiny_run("run", tiny_models(), directory), *stages]) == 0
    return directory


def test_a_run_is_loaded_and_talked_to(whole):
    bot = selfsame.load(str(whole))
    conversation = bot.chat(PERSONA)
    reply = conversation.say("Hi")
    assert bot.name == "demo (ppo)" and conversation.persona == ("I have two dogs.", "I drive a night bus.")
    assert conversation.turns == ["Hi", reply]
    by_hand = Conversation(Policy(bot.roles, "policy", conversation.policy.sampling), conversation.persona)
    assert by_hand.say("Hi") == reply
    assert bot.chat(PERSONA, seed=3).policy.seed == 3
    changed = bot.chat(PERSONA, temperature=0.0, max_new_tokens=9).policy.sampling
    assert (changed.temperature, changed.max_new_tokens) == (0.0, 9)
    with pytest.raises(ConfigError, match=r"did you mean sampling\.temperature"):
        bot.chat(PERSONA, temprature=1.0)


def test_the_systems_of_a_run_are_those_that_were_trained(whole):
    """PPO and DPO train a role of the same name: the one that joins later gets its own."""
    conversation = selfsame.load(whole, "dpo").chat(PERSONA)
    assert list(conversation.systems) == ["base", "sft", "ppo", "dpo"] and conversation.policy.role == "policy"
    roles = conversation.policy.roles
    dpo = roles.state("policy")
    for system in ("ppo", "sft", "base", "ppo", "dpo"):
        conversation.switch(system)
        state = None if conversation.policy.role is None else roles.state(conversation.policy.role)
        alone = selfsame.load(whole, system)
        expected = None if alone.role is None else alone.roles.state(alone.role)
        assert (state is None) == (expected is None)
        values, wanted = (list((s or {}).values()) for s in (state, expected))
        assert len(values) == len(wanted) and all((a == b).all() for a, b in zip(values, wanted, strict=True))
    assert all((a == b).all() for a, b in zip(dpo.values(), roles.state("policy").values(), strict=True))


def test_the_best_of_several_replies_brings_the_reward_model(whole):
    bot = selfsame.load(whole)
    assert "reward" not in bot.roles.names
    conversation = bot.chat(PERSONA, best_of=3)
    assert "reward" in bot.roles.names and conversation.say("Hi") == conversation.turns[1]


def test_any_model_can_speak_but_has_no_systems_and_no_reward(tiny_models):
    bot = selfsame.load(tiny_models())
    assert bot.chat(PERSONA).systems == {}
    with pytest.raises(ConfigError, match="is not a run: there is no reward model"):
        bot.chat(PERSONA, best_of=2)


def test_a_card_is_a_persona_too(tiny_models, tmp_path):
    card = tmp_path / "mika.json"
    card.write_text(json.dumps({"name": "Mika", "description": "She has two cats.", "first_mes": "Hi, I'm {{char}}!"}))
    bot = selfsame.load(tiny_models())
    for path in (card, str(card)):
        conversation = bot.chat(path)
        assert conversation.turns == ["", "Hi, I'm Mika!"] and "I have two cats." in conversation.persona


@pytest.mark.parametrize(
    ("persona", "message"),
    [
        ([], "the persona is empty"),
        (["  "], "the persona is empty"),
        ("I have two dogs.", "is not a file: give a list of sentences, or the path of a card"),
        (Path("none.json"), "none.json: no such file"),
    ],
)
def test_what_is_no_persona_is_one_line(tiny_models, persona, message):
    with pytest.raises(DataError, match=message):
        selfsame.load(tiny_models()).chat(persona)
