"""How long a bot may speak in a chat, and what is shown of a reply that came to its limit."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from test_roles import load

from selfsame.config import load_config
from selfsame.errors import ConfigError
from selfsame.model.settings import BUNDLED, LoraSettings
from selfsame.rollout.engine import Reply, RolloutEngine
from selfsame.rollout.policy import Policy
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve.chat import Conversation, cut_short
from selfsame.serve.chatbot import Chatbot, chat_sampling, load_chatbot

PERSONA = ("I have two dogs.",)


def bot(base=BUNDLED, of_run=True, context=512, header=40, **sampling):
    processor = SimpleNamespace(max_length=context, header_ids=lambda prompt: [0] * header)
    config = load_config(values={"model": {"base": base}, "sampling": sampling})
    return Chatbot(SimpleNamespace(processor=processor), "sft", config, "bot", of_run)


@pytest.mark.parametrize(
    ("who", "limit"),
    [
        (bot(), 32),  # the bundled base that a run trained: as the run says
        (bot(max_new_tokens=20), 20),
        (bot(of_run=False), 128),
        (bot("a/larger-one"), 128),
        (bot("a/larger-one", max_new_tokens=20), 128),
        (bot("a/larger-one", max_new_tokens=200), 200),
        (bot("a/larger-one", context=192, header=92), 50),  # half of what the persona leaves
        (bot("a/larger-one", context=192, header=150), 32),
    ],
)
def test_larger_models_may_say_more(who, limit):
    assert chat_sampling(who, PERSONA).max_new_tokens == limit
    assert chat_sampling(who, PERSONA, max_new_tokens=60).max_new_tokens == 60
    asked = chat_sampling(who, PERSONA, temperature=0.0)
    assert asked == who.config.sampling.model_copy(update={"max_new_tokens": limit, "temperature": 0.0})


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"max_new_tokens": 257}, "max_new_tokens is 257: give 1 to 256"),
        ({"max_new_tokens": 0}, "chat: sampling.max_new_tokens: .* greater than or equal to 1"),
        ({"temprature": 1.0}, "unknown setting sampling.temprature - did you mean sampling.temperature?"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(chosen, message):
    with pytest.raises(ConfigError, match=message):
        chat_sampling(bot(), PERSONA, **chosen)


def test_a_system_of_a_run_is_known_as_one(tiny_models):
    assert not load_chatbot(str(tiny_models())).of_run


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("I have two dogs. They bark at the", "I have two dogs."),
        ("I have two dogs. They bark.", "I have two dogs. They bark."),
        ('She said "Hello!" Then she', 'She said "Hello!"'),
        ("Really? Yes! I think so... But", "Really? Yes! I think so..."),
        ("It costs 3.50 pounds and", "It costs 3.50 pounds and…"),
        ("my dogs are named ", "my dogs are named…"),
        ("i like dogs . they are", "i like dogs ."),
        ("Gladly.\n1. Walk.\n2. Eat", "Gladly.\n1. Walk."),
        ("1. Walk the", "1. Walk the…"),
        ("私は犬が好きです。あなたは", "私は犬が好きです。"),
        ("", "…"),
    ],
)
def test_a_reply_that_came_to_its_limit_ends_with_a_sentence(text, shown):
    assert cut_short(text) == shown


@pytest.mark.parametrize(("ended", "shown"), [(True, "I sing. And then I"), (False, "I sing.")])
def test_what_is_shown_is_what_the_dialogue_goes_on_from(tiny_models, monkeypatch, ended, shown):
    roles = load(tiny_models(), lora=LoraSettings(rank=4))
    conversation = Conversation(Policy(roles, None, SamplingSettings()), PERSONA)
    ids = roles.processor.encode_reply("I sing. And then I")[:-1]
    monkeypatch.setattr(RolloutEngine, "replies", lambda *a, **more: [Reply(ids, [], ended)])
    assert conversation.say("Hi.") == shown
    assert conversation.turns == ["Hi.", shown]
