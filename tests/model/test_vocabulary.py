"""Log-probabilities and entropies without logits kept: values and gradients are those of a plain softmax."""

from __future__ import annotations

import pytest
import torch
from test_prefix_batch import PROMPTS, REPLIES, load
from torch import nn

from selfsame.model import vocabulary
from selfsame.model.prefix_batch import prefix_batch, reply_logprobs
from selfsame.model.vocabulary import token_logprobs, vocabulary_logits


def head_of(vocabulary_size, size, bias=False):
    """A model that is nothing but its vocabulary head."""
    head = nn.Linear(size, vocabulary_size, bias=bias).requires_grad_(False)
    model = nn.Module()
    model.get_output_embeddings, model.dtype, model.config = lambda: head, head.weight.dtype, object()
    return model


def plainly(model, states, tokens, temperature):
    logprobs = (vocabulary_logits(model, states) / temperature).log_softmax(-1)
    return logprobs.gather(-1, tokens[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(-1)


@pytest.mark.parametrize(("temperature", "bias", "scale"), [(1.0, False, 1.0), (0.7, True, 1.0), (1.3, False, 30.0)])
@pytest.mark.parametrize("chunk", [1, 40, 10**6])
def test_values_and_gradients_are_those_of_a_plain_softmax(monkeypatch, temperature, bias, scale, chunk):
    """Also with one row at a time, with two, and where a word is nearly certain (scale 30)."""
    monkeypatch.setitem(vocabulary._CHUNK, "cpu", chunk)
    monkeypatch.setattr(vocabulary, "_LEAST_ROWS", 1)
    torch.manual_seed(0)
    model, tokens = head_of(20, 8, bias), torch.randint(20, (7,))
    states = (scale * torch.randn(7, 8)).requires_grad_()
    weights = torch.randn(2, 7)
    ours = token_logprobs(model, states, tokens, temperature, entropy=True)
    theirs = plainly(model, states, tokens, temperature)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    for a, b in ((1, 0), (0, 1), (0.5, 2)):
        sums = [(a * weights[0] * x).sum() + (b * weights[1] * h).sum() for x, h in (ours, theirs)]
        one, other = (torch.autograd.grad(s, states, retain_graph=True)[0] for s in sums)
        torch.testing.assert_close(one, other, atol=1e-4 * float(other.abs().max()), rtol=1e-4)


def test_an_entropy_without_gradient_has_the_same_value_and_none():
    torch.manual_seed(0)
    model, tokens, states = head_of(20, 8), torch.randint(20, (7,)), torch.randn(7, 8, requires_grad=True)
    logprobs, entropy = token_logprobs(model, states, tokens, entropy=True, entropy_gradient=False)
    torch.testing.assert_close(entropy, plainly(model, states, tokens, 1.0)[1].detach())
    assert not entropy.requires_grad and logprobs.requires_grad
    assert token_logprobs(model, states, tokens)[1] is None
    with torch.no_grad():
        assert not token_logprobs(model, states, tokens)[0].requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_exact_as_a_plain_softmax_on_rounded_logits(dtype):
    torch.manual_seed(0)
    exact = head_of(50, 16)
    states, tokens = torch.randn(9, 16), torch.randint(50, (9,))
    wanted = torch.autograd.grad(plainly(exact, leaf := states.clone().requires_grad_(), tokens, 1.0)[0].sum(), leaf)[0]
    head = exact.get_output_embeddings().to(dtype)
    rounded = nn.Module()
    rounded.get_output_embeddings, rounded.dtype, rounded.config = lambda: head, dtype, object()
    leaf = states.to(dtype).requires_grad_()
    ours = torch.autograd.grad(token_logprobs(rounded, leaf, tokens)[0].sum(), leaf)[0].float()
    plain = torch.autograd.grad(plainly(rounded, leaf, tokens, 1.0)[0].sum(), leaf)[0].float()
    assert (ours - wanted).norm() <= 1.1 * (plain - wanted).norm() < 0.05 * wanted.norm()


def test_trained_and_capped_heads_take_the_plain_way(tiny_models, monkeypatch):
    monkeypatch.setattr(vocabulary._TokenLogprobs, "apply", lambda *_: pytest.fail("a head with a cap or a gradient"))
    capped = load(tiny_models("gemma2"))
    with capped.use("sft") as model:
        assert model.config.final_logit_softcapping
        reply_logprobs(model, prefix_batch(PROMPTS, REPLIES))
    trained = head_of(20, 8)
    weight = trained.get_output_embeddings().weight.requires_grad_()
    token_logprobs(trained, torch.randn(3, 8), torch.tensor([1, 2, 3]))[0].sum().backward()
    assert weight.grad is not None and weight.grad.abs().sum() > 0
