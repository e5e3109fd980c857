"""Pairs of sentences: the judge's labels are those of one plain forward per pair, whatever the batch."""

from __future__ import annotations

import pytest
import torch
from test_roles import load, scramble

from selfsame.model.pairs import PairModel
from selfsame.model.settings import LoraSettings
from selfsame.types import Prompt

PAIRS = [
    ("I have two dogs.", "I have no dogs at all, and never had."),
    ("I teach chemistry at a small school.", "Hello!"),
    ("", "My mother is a nurse."),
    ("My mother is a nurse | and sings.", "[SEP] [RESPONSE] I drive a night bus in Leeds."),
    ("word " * 500, "word " * 500),
    ("我有两只狗。" * 60, "🐕" * 200),
]


def judge(folder, budget=4096):
    roles = load(folder, lora=LoraSettings(rank=4))
    roles.add("judge")
    scramble(roles, "judge")
    with torch.no_grad():
        for parameter in roles.heads["judge"].parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return PairModel(roles, budget)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3"])
def test_probabilities_are_those_of_a_plain_forward(tiny_models, family):
    model = judge(tiny_models(family))
    expected = []
    with torch.no_grad(), model.roles.use("judge") as causal:
        for pair in PAIRS:
            prompt, reply = model.encode(pair)
            hidden = causal.get_decoder()(torch.tensor([prompt + reply])).last_hidden_state[0, -1]
            expected.append(model.roles.heads["judge"](hidden).softmax(-1))
    found = model.probabilities(PAIRS)
    assert torch.allclose(found, torch.stack(expected), atol=1e-5)
    assert len({tuple(row) for row in found.round(decimals=4).tolist()}) > 3  # it does say different things
    one_by_one = torch.cat([judge(tiny_models(family), 64).probabilities([pair]) for pair in PAIRS])
    assert torch.allclose(found, one_by_one, atol=1e-5)


def test_a_pair_is_a_prompt_with_its_reply(tiny_models):
    model = judge(tiny_models())
    processor = model.roles.processor
    prompt, reply = model.encode(("I have two dogs.", "I have no dogs."))
    assert prompt == processor.encode_prompt(Prompt(("I have two dogs.",)))
    assert reply == processor.encode_reply("I have no dogs.")


def test_long_sentences_lose_their_end(tiny_models):
    model = judge(tiny_models())
    for pair in PAIRS[4:]:
        prompt, reply = model.encode(pair)
        assert len(prompt) + len(reply) <= model.roles.processor.max_length
        assert len(reply) <= model.longest + 1 and reply[-1] == model.roles.processor.end_id


def test_the_role_is_saved_with_its_head(tiny_models, tmp_path):
    model = judge(tiny_models())
    model.roles.save("judge", tmp_path)
    again = PairModel(load(tiny_models(), lora=LoraSettings(rank=4)))
    again.roles.load("judge", tmp_path)
    assert torch.equal(again.probabilities(PAIRS), model.probabilities(PAIRS))
