"""The shared-prompt batch equals one plain forward per reply, on every family, in values and in gradients."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig

from conftest import CHATML, FAMILIES, make_model
from selfsame.data.processor import EncodedDialogue
from selfsame.errors import ConfigError
from selfsame.model.load import load_roles
from selfsame.model.prefix_batch import (
    check_exactness,
    dialogue_batch,
    final_states,
    hidden_states,
    prefix_batch,
    reply_logprobs,
    source_states,
)
from selfsame.model.settings import LoraSettings, ModelSettings

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [30, 31, 32], [40, 41, 42, 43, 44]]
REPLIES = [[[20, 21, 22], [23, 24, 25, 26, 27, 28, 29, 30, 31, 32], [33]], [[50, 51], [52]], [[60, 61, 62, 63]]]


def load(folder, **settings):
    roles = load_roles(
        ModelSettings(base=str(folder), dtype="float32", max_length=128, lora=LoraSettings(rank=4), **settings)
    )
    roles.add("sft")
    torch.manual_seed(1)
    for p in roles.parameters("sft").values():
        torch.nn.init.normal_(p, std=0.3)
    return roles


def plain_logprobs(model, prompt, reply, temperature=1.0):
    """One forward of the whole model on one sequence."""
    logits = (
        model(input_ids=torch.tensor([prompt + reply]), use_cache=False).logits[0, len(prompt) - 1 : -1] / temperature
    )
    return logits.log_softmax(-1).gather(-1, torch.tensor(reply)[:, None])[:, 0]


# Gemma 2 caps its attention scores, which transformers computes eagerly only.
@pytest.mark.parametrize(
    ("family", "attention"), [(f, a) for f in FAMILIES for a in ("sdpa", "eager") if (f, a) != ("gemma2", "sdpa")]
)
def test_equals_one_forward_per_reply(tiny_models, family, attention):
    roles = load(tiny_models(family))
    roles.base.set_attn_implementation(attention)
    with roles.use("sft") as model:
        shared_NR, entropy_NR = reply_logprobs(model, prefix_batch(PROMPTS, REPLIES), 0.7, entropy=True)
        pairs = [(p, r) for p, group in zip(PROMPTS, REPLIES, strict=True) for r in group]
        for n, (prompt, reply) in enumerate(pairs):
            expected = plain_logprobs(model, prompt, reply, 0.7)
            torch.testing.assert_close(shared_NR[n, : len(reply)], expected, atol=1e-4, rtol=1e-5)
            assert (shared_NR[n, len(reply) :] == 0).all()
        assert entropy_NR is not None and (entropy_NR >= -1e-6).all()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3"])
def test_gradients_equal_those_of_separate_forwards(tiny_models, family):
    roles = load(tiny_models(family))
    parameters = roles.parameters("sft")
    with roles.use("sft") as model:
        shared = torch.autograd.grad(
            reply_logprobs(model, prefix_batch(PROMPTS, REPLIES))[0].sum(), list(parameters.values())
        )
        total = sum(plain_logprobs(model, p, r).sum() for p, g in zip(PROMPTS, REPLIES, strict=True) for r in g)
        separate = torch.autograd.grad(total, list(parameters.values()))
    for name, one, other in zip(parameters, shared, separate, strict=True):
        torch.testing.assert_close(
            one, other, atol=1e-4 * float(other.abs().max()) + 1e-6, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_siblings_do_not_see_each_other(tiny_models):
    roles = load(tiny_models("llama"))
    changed = [[REPLIES[0][0], [9] * 10, [8]], *REPLIES[1:]]
    with roles.use("sft") as model:
        before, _ = reply_logprobs(model, prefix_batch(PROMPTS, REPLIES))
        after, _ = reply_logprobs(model, prefix_batch(PROMPTS, changed))
    torch.testing.assert_close(before[0], after[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before[1], after[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_dialogue_row_equals_one_forward_per_turn(tiny_models, family):
    roles = load(tiny_models(family))
    rows = [
        EncodedDialogue(list(range(5, 35)), [(4, 8), (12, 13), (20, 30)], (0, 0)),
        EncodedDialogue(list(range(50, 60)), [(3, 10)], (0, 0)),
    ]
    with roles.use("sft") as model:
        found_NR, _ = reply_logprobs(model, dialogue_batch(rows))
        spans = [(row, span) for row in rows for span in row.spans]
        for n, (row, (start, end)) in enumerate(spans):
            expected = plain_logprobs(model, row.ids[:start], row.ids[start:end])
            torch.testing.assert_close(found_NR[n, : end - start], expected, atol=1e-4, rtol=1e-5)


def test_states_are_those_of_the_right_positions(tiny_models):
    roles = load(tiny_models("llama"))
    with roles.use("sft") as model:
        batch = prefix_batch(PROMPTS, REPLIES)
        hidden = hidden_states(model, batch)
        ends, sources = final_states(batch, hidden), source_states(batch, hidden)
        at = 0
        for n, (prompt, reply) in enumerate((p, r) for p, g in zip(PROMPTS, REPLIES, strict=True) for r in g):
            plain_TH = hidden_states(model, prefix_batch([prompt + reply[:-1]], [[reply[-1:]]]))[0]
            torch.testing.assert_close(ends[n], plain_TH[-1], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(
                sources[at : at + len(reply)], plain_TH[len(prompt) - 1 : -1], atol=1e-4, rtol=1e-4
            )
            at += len(reply)
        assert at == len(sources)


def test_families_that_cannot_share_a_prompt_are_refused(tmp_path):
    make_model(tmp_path, "llama")
    AutoModelForCausalLM.from_config(BloomConfig(vocab_size=500, hidden_size=32, n_layer=2, n_head=4)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ConfigError, match="ALiBi"):
        load_roles(ModelSettings(base=str(tmp_path), dtype="float32"))


def test_the_exactness_check_notices_a_wrong_mask(tiny_models, monkeypatch):
    roles = load(tiny_models("llama"))
    check_exactness(roles.base)
    monkeypatch.setattr("selfsame.model.prefix_batch.attention_masks", lambda model, batch: None)
    with pytest.raises(ConfigError, match="cannot share a prompt"):
        check_exactness(roles.base)


def test_chat_models_work_too(tmp_path):
    roles = load(make_model(tmp_path, "qwen2", CHATML))
    assert roles.new_tokens == () and roles.processor.format.end == "<|im_end|>"
