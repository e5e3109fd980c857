"""Sampling draws from the right distribution, and its random numbers belong to the reply."""

from __future__ import annotations

import torch

from selfsame.rollout.sampler import choose, uniforms


def test_frequencies_are_the_softmax():
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0]])
    numbers = torch.arange(0.5, 20000) / 20000  # every quantile once: no luck involved
    tokens, logprobs = choose(logits.expand(len(numbers), -1), numbers, temperature=0.5)
    expected = torch.softmax(logits[0] / 0.5, -1)
    torch.testing.assert_close(torch.bincount(tokens, minlength=4) / len(numbers), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(logprobs, expected.log()[tokens])


def test_greedy_takes_the_most_likely():
    tokens, logprobs = choose(torch.tensor([[0.0, 3.0, 1.0]]), torch.tensor([0.99]), temperature=0)
    assert tokens.tolist() == [1] and torch.isclose(logprobs[0], torch.tensor([0.0, 3.0, 1.0]).log_softmax(0)[1])


def test_nucleus_never_leaves_the_smallest_set():
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    numbers = torch.arange(0.5, 1000) / 1000
    tokens, _ = choose(probs.log().expand(1000, -1), numbers, top_p=0.7)
    counts = torch.bincount(tokens, minlength=4) / 1000
    torch.testing.assert_close(counts, torch.tensor([0.625, 0.375, 0, 0]), atol=2e-3, rtol=0)


def test_edges_of_the_unit_interval_give_tokens_that_exist():
    logits = torch.tensor([[0.0, -1e9, 0.0, -1e9]]).expand(2, -1)
    tokens, logprobs = choose(logits, torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64))
    assert tokens.tolist() == [0, 2] and torch.isfinite(logprobs).all()


def test_numbers_belong_to_seed_step_and_reply():
    whole = uniforms(3, 5, range(6), 4)
    assert torch.equal(uniforms(3, 5, [4, 1], 4), whole[[4, 1]])
    assert not torch.equal(uniforms(3, 6, range(6), 4), whole) and not torch.equal(uniforms(4, 5, range(6), 4), whole)
    assert len(whole.unique()) == 24 and float(whole.min()) >= 0 and float(whole.max()) < 1
