"""Sampling draws from the right distribution, and its random numbers belong to the reply."""

from __future__ import annotations

import pytest
import torch

from selfsame.rollout.sampler import HEAD, reply_noise, sample_token


def test_frequencies_are_the_softmax():
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0]])
    numbers = torch.arange(0.5, 20000) / 20000  # every quantile once: no luck involved
    tokens, logprobs = sample_token(logits.expand(len(numbers), -1), numbers, temperature=0.5)
    expected = torch.softmax(logits[0] / 0.5, -1)
    torch.testing.assert_close(torch.bincount(tokens, minlength=4) / len(numbers), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(logprobs, expected.log()[tokens])


def test_greedy_takes_the_most_likely():
    tokens, logprobs = sample_token(torch.tensor([[0.0, 3.0, 1.0]]), torch.tensor([0.99]), temperature=0)
    assert tokens.tolist() == [1] and torch.isclose(logprobs[0], torch.tensor([0.0, 3.0, 1.0]).log_softmax(0)[1])


def test_nucleus_never_leaves_the_smallest_set():
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    numbers = torch.arange(0.5, 1000) / 1000
    tokens, _ = sample_token(probs.log().expand(1000, -1), numbers, top_p=0.7)
    counts = torch.bincount(tokens, minlength=4) / 1000
    torch.testing.assert_close(counts, torch.tensor([0.625, 0.375, 0, 0]), atol=2e-3, rtol=0)


@pytest.mark.parametrize("size", [3, HEAD, HEAD + 1, 500])
@pytest.mark.parametrize("top_p", [0.05, 0.9, 1 - 1e-9])
def test_the_nucleus_is_the_one_that_sorting_everything_gives(size, top_p):
    """Rows that are flat, so that the most likely few do not hold it, beside rows that are not."""
    spread = torch.tensor([[0.01], [1.0], [8.0]])
    logits = spread * torch.randn(3, size, generator=torch.Generator().manual_seed(size))
    numbers = (torch.arange(0.5, 2000) / 2000).repeat(3)
    tokens, _ = sample_token(logits.repeat_interleave(2000, 0), numbers, top_p=top_p)
    for row, drawn in zip(logits.double().softmax(-1), tokens.view(3, 2000), strict=True):
        values, order = row.sort(descending=True)
        kept = order[: int((values.cumsum(0) < top_p).sum()) + 1]
        assert set(drawn.tolist()) <= set(kept.tolist())
        likely = [k for k in kept.tolist() if row[k] > 1 / 1999]
        assert set(likely) <= set(drawn.tolist())


def test_tokens_as_likely_as_the_last_one_of_the_nucleus_belong_to_it():
    tokens, _ = sample_token(
        torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]]).repeat(100, 1), torch.arange(0.5, 100) / 100, top_p=0.5
    )
    assert set(tokens.tolist()) == {0, 1, 2, 3}


def test_logits_that_are_no_numbers_give_some_token_and_no_number():
    """As half precision that overflowed may: training then skips the step, and says so."""
    logits = torch.tensor([[0.0, float("nan"), 1.0], [0.0, 9.0, 1.0]])
    for top_p in (0.9, 1.0):
        tokens, logprobs = sample_token(logits, torch.tensor([0.5, 0.5]), top_p=top_p)
        assert 0 <= tokens[0] < 3 and logprobs[0].isnan() and tokens[1] == 1


def test_edges_of_the_unit_interval_give_tokens_that_exist():
    logits = torch.tensor([[0.0, -1e9, 0.0, -1e9]]).expand(2, -1)
    tokens, logprobs = sample_token(logits, torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64))
    assert tokens.tolist() == [0, 2] and torch.isfinite(logprobs).all()


def test_numbers_belong_to_seed_step_and_reply():
    whole = reply_noise(3, 5, range(6), 4)
    assert torch.equal(reply_noise(3, 5, [4, 1], 4), whole[[4, 1]])
    assert not torch.equal(reply_noise(3, 6, range(6), 4), whole) and not torch.equal(
        reply_noise(4, 5, range(6), 4), whole
    )
    assert len(whole.unique()) == 24 and float(whole.min()) >= 0 and float(whole.max()) < 1
