"""Given the hidden states of the lower blocks, everything is what it is without them; and the lower blocks do not run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stages import VARIANTS, ppo_trainer
from test_prefix_batch import PROMPTS, REPLIES
from test_roles import scramble

from conftest import FAMILIES
from selfsame.errors import ConfigError
from selfsame.model.load import load_roles
from selfsame.model.prefix_batch import hidden_states, prefix_batch, reply_logprobs
from selfsame.model.settings import LoraSettings, ModelSettings
from selfsame.model.trunk import blocks_of, trunk_of
from selfsame.rollout.collect import token_logprobs, value_estimates

UPPER = LoraSettings(rank=4, layers=1)


def upper_roles(folder, **settings):
    roles = load_roles(ModelSettings(base=str(folder), dtype="float32", max_length=128, lora=UPPER, **settings))
    roles.add("sft")
    scramble(roles, "sft")
    return roles


def count_passes(roles):
    """A list that grows with each pass through the first block's first linear layer."""
    _, blocks = blocks_of(roles.base)
    layer = next(m for m in blocks[0].modules() if hasattr(m, "weight") and m.weight.dim() == 2)
    passes: list[int] = []
    layer.register_forward_hook(lambda *_: passes.append(1))
    return passes


@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_and_gradients_are_those_of_the_whole_model(tiny_models, family):
    roles = upper_roles(tiny_models(family, chat=True))
    assert roles.trunk is not None
    parameters = list(roles.parameters("sft").values())
    with roles.use("sft") as model:
        trunk = roles.trunk.states(model, PROMPTS, REPLIES, 40)
        passes, found = count_passes(roles), []
        for batch in (prefix_batch(PROMPTS, REPLIES), prefix_batch(PROMPTS, REPLIES, trunk=trunk)):
            logprobs, _ = reply_logprobs(model, batch)
            found.append((logprobs.detach(), torch.autograd.grad(logprobs.sum(), parameters)))
        assert len(passes) == 1
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-4 * float(other.abs().max()) + 1e-7, rtol=1e-4)


def test_measures_of_rows_use_it_in_any_order_and_batch(tiny_models):
    roles = upper_roles(tiny_models("gemma3", chat=True))
    roles.add("value", like="sft")
    torch.nn.init.normal_(roles.heads["value"].linear.weight)
    with roles.use(None) as model:
        trunk = roles.trunk.states(model, PROMPTS, REPLIES, 1000)
    for budget in (20, 1000):
        plain = token_logprobs(roles, "sft", PROMPTS, REPLIES, budget)
        quick = token_logprobs(roles, "sft", PROMPTS, REPLIES, budget, trunk=trunk)
        values = [value_estimates(roles, "value", PROMPTS, REPLIES, budget, t) for t in (None, trunk)]
        for one, other in ((plain, quick), values):
            flat = [torch.tensor([x for g in rows for r in g for x in r]) for rows in (one, other)]
            torch.testing.assert_close(*flat, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_ppo_runs_the_lower_blocks_once_for_each_rollout(tiny_models, variant):
    """And its gradient is that of passes through the whole model."""
    trainer = ppo_trainer(tiny_models(chat=True), lora=UPPER, minibatches=1, **VARIANTS[variant])
    passes = count_passes(trainer.roles)
    experience = trainer.collect(0)
    rolled = len(passes)
    parts = next(iter(trainer.minibatches(experience, 0)))
    gradients = []
    for changed in (parts, [without_trunk(part) for part in parts]):
        before = len(passes)
        parameters = [p for role in trainer.trained for p in trainer.roles.parameters(role).values()]
        for p in parameters:
            p.grad = None
        for part in changed:
            trainer.loss(part)[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
        wanted = [part for part in parts if part.states_MH is None]
        assert len(passes) - before == (0 if changed is parts else len(wanted))
    assert rolled <= trainer.settings.max_new_tokens + 1  # prefill and a step a token, and the trunk's own pass
    torch.testing.assert_close(*gradients, atol=1e-4 * float(gradients[0].abs().max()), rtol=1e-3)


def without_trunk(part):
    return replace(part, batch=replace(part.batch, trunk=None))


def test_where_there_is_none(tiny_models):
    assert load_roles(ModelSettings(base=str(tiny_models()), max_length=128)).trunk is None
    # The markers are new tokens to this tokenizer: every role trains their embeddings, so the trunk differs between roles.
    assert load_roles(ModelSettings(base=str(tiny_models()), max_length=128, lora=UPPER)).trunk is None
    everywhere = LoraSettings(rank=4, layers=2)
    assert load_roles(ModelSettings(base=str(tiny_models(chat=True)), max_length=128, lora=everywhere)).trunk is None
    with pytest.raises(ConfigError, match="2 blocks"):
        load_roles(ModelSettings(base=str(tiny_models()), max_length=128, lora=LoraSettings(layers=3)))


def test_blocks_that_pass_on_more_than_hidden_states_are_computed_every_time(tiny_models):
    roles = load_roles(ModelSettings(base=str(tiny_models()), dtype="float32", max_length=128))
    model, (_, blocks) = roles.base, blocks_of(roles.base)
    upper, plain = blocks[1].forward, hidden_states(model, prefix_batch(PROMPTS, REPLIES))
    lower = blocks[0].forward

    def leaves_something(hidden, *args, **kwargs):
        return lower(hidden, *args, **kwargs), hidden

    def takes_it(pair, *args, **kwargs):
        return upper(pair[0], *args, **kwargs) + pair[1]

    blocks[0].forward, blocks[1].forward = leaves_something, takes_it
    with pytest.warns(UserWarning, match="every pass computes all blocks"):
        assert trunk_of(model, 1) is None
    assert blocks[0].forward is leaves_something
    del blocks[0].forward, blocks[1].forward
    assert trunk_of(model, 1) is not None
    torch.testing.assert_close(hidden_states(model, prefix_batch(PROMPTS, REPLIES)), plain)


def test_a_pass_that_fails_leaves_no_states_behind(tiny_models):
    roles = upper_roles(tiny_models(chat=True))
    with roles.use("sft") as model:
        plain = hidden_states(model, prefix_batch(PROMPTS, REPLIES))
        trunk = roles.trunk.states(model, PROMPTS, REPLIES, 1000)
        with pytest.raises(RuntimeError):  # of other rows
            hidden_states(model, replace(prefix_batch(PROMPTS[:1], [[[7]]]), trunk=trunk))
        torch.testing.assert_close(hidden_states(model, prefix_batch(PROMPTS, REPLIES)), plain)
