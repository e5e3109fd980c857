"""Formulas against independent references: torchrl, numbers worked by hand, loops written out."""

from __future__ import annotations

import math

import pytest
import torch
from torchrl.objectives.value.functional import generalized_advantage_estimate

from selfsame.training.advantages import (
    KLController,
    explained_variance,
    gae,
    group_advantages,
    leave_one_out,
    masked_mean,
    shaped_rewards,
    whiten,
)
from selfsame.training.losses import approximate_kl, clip_fraction, dpo_loss, policy_loss, ranking_loss, value_loss

LENGTHS = [5, 3, 1, 4]
MASK = torch.arange(5) < torch.tensor(LENGTHS)[:, None]


def random_NR(seed):
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(seed)) * MASK


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.99, 1.0), (1.0, 0.0)])
def test_gae_equals_torchrl(gamma, lam):
    rewards, values = random_NR(0), random_NR(1)
    advantages, returns = gae(rewards, values, MASK, gamma, lam)
    for n, length in enumerate(LENGTHS):
        done = torch.zeros(length, 1, dtype=torch.bool)
        done[-1] = True
        value, reward = values[n, :length, None], rewards[n, :length, None]
        following = torch.cat([value[1:], torch.zeros(1, 1)])
        theirs, target = generalized_advantage_estimate(
            gamma, lam, value, following, reward, done=done, terminated=done
        )
        torch.testing.assert_close(advantages[n, :length, None], theirs)
        torch.testing.assert_close(returns[n, :length, None], target)
    assert (advantages[~MASK] == 0).all() and (returns[~MASK] == 0).all()


def test_rewards_by_hand():
    logprobs = torch.tensor([[-1.0, -2.0, 0.0], [-0.5, 0.0, 0.0]])
    reference = torch.tensor([[-1.5, -1.0, 0.0], [-0.5, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    rewards = shaped_rewards(torch.tensor([3.0, -1.0]), logprobs, reference, mask, 0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.05, 3.1, 0.0], [-1.0, 0.0, 0.0]]))


def test_group_advantages_by_hand():
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    found = group_advantages(torch.tensor([1.0, 3.0, 5.0, 5.0]), 2, mask)
    one = 1 / (2**0.5 + 1e-4)  # the scores 1 and 3 lie 1 from their mean; their standard deviation is the root of 2
    torch.testing.assert_close(found, torch.tensor([[-one, -one, 0], [one, 0, 0], [0, 0, 0], [0, 0, 0]]))


def test_leave_one_out_by_hand():
    found = leave_one_out(torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0]), 3)
    torch.testing.assert_close(found, torch.tensor([-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]))


def test_whitened_entries_have_mean_zero_and_deviation_one():
    whitened = whiten(random_NR(2) * 7 + 3 * MASK, MASK)
    kept = whitened[MASK]
    assert (
        abs(float(kept.mean())) < 1e-6
        and abs(float(kept.std(correction=0)) - 1) < 1e-5
        and (whitened[~MASK] == 0).all()
    )
    assert float(masked_mean(torch.ones(4, 5), MASK)) == 1


def test_policy_loss_by_hand():
    old = torch.zeros(1, 4)
    new = torch.tensor([[math.log(1.5), math.log(0.5), math.log(1.5), math.log(1.1)]])
    advantages = torch.tensor([[1.0, 1.0, -1.0, 2.0]])
    # A > 0: ratio 1.5 is clipped to 1.2, ratio 0.5 is not; A < 0: ratio 1.5 is not clipped; ratio 1.1 is inside.
    expected = -1.2 - 0.5 + 1.5 - 2.2
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert float(policy_loss(new, old, advantages, mask, 0.2)) == pytest.approx(expected, abs=1e-6)
    assert float(clip_fraction(new, old, mask, 0.2)) == 3
    padded = torch.cat([new, torch.full((1, 1), 50.0)], 1)
    wide = torch.cat([mask, torch.zeros(1, 1, dtype=torch.bool)], 1)
    zero = torch.zeros(1, 1)
    loss = policy_loss(padded, torch.cat([old, zero], 1), torch.cat([advantages, zero], 1), wide, 0.2)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_policy_gradient_at_ratio_one_is_minus_advantage_times_score():
    logprobs = random_NR(3).requires_grad_()
    advantages = random_NR(4)
    policy_loss(logprobs, logprobs.detach(), advantages, MASK, 0.2).backward()
    torch.testing.assert_close(logprobs.grad, -advantages)


def test_value_loss_by_hand():
    values, old, returns = (
        torch.tensor([[1.0, 0.5, 2.0]]),
        torch.tensor([[0.0, 0.4, 0.0]]),
        torch.tensor([[2.0, 0.0, 0.1]]),
    )
    # clipped to 0.2: (0.2 - 2)^2 = 3.24 > 1; 0.5 inside: 0.25; clipped (0.2 - 0.1)^2 < (2 - 0.1)^2 = 3.61
    expected = 0.5 * (3.24 + 0.25 + 3.61)
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert float(value_loss(values, old, returns, mask, 0.2)) == pytest.approx(expected, abs=1e-5)
    assert float(value_loss(values, old, returns, torch.tensor([[True, False, False]]), 0.2)) == pytest.approx(
        1.62, abs=1e-5
    )


def test_approximate_kl_is_zero_at_equality_and_right_in_the_mean():
    logprobs = random_NR(5)
    assert float(approximate_kl(logprobs, logprobs, MASK)) == 0
    p, q = torch.softmax(torch.tensor([0.3, -0.2, 1.0]), 0), torch.softmax(torch.tensor([0.0, 0.1, 0.4]), 0)
    per_token = torch.stack(
        [approximate_kl(p.log()[None, i : i + 1], q.log()[None, i : i + 1], torch.tensor([[True]])) for i in range(3)]
    )
    assert float((q * per_token).sum()) == pytest.approx(float((q * (q / p).log()).sum()), abs=1e-6)


def test_ranking_loss_by_hand():
    loss = ranking_loss(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0]))
    assert float(loss) == pytest.approx(0.5 * math.log(1 + math.exp(-1)) + 2 * math.log(1 + math.exp(2)), abs=1e-6)


def test_dpo_loss_by_hand():
    loss, margin = dpo_loss(torch.tensor([-5.0]), torch.tensor([-7.0]), torch.tensor([-6.0]), torch.tensor([-6.5]), 0.1)
    assert float(margin) == pytest.approx(0.1 * (2.0 - 0.5)) and float(loss) == pytest.approx(
        math.log(1 + math.exp(-0.15)), abs=1e-6
    )


def test_explained_variance():
    returns = random_NR(6)
    assert explained_variance(returns, returns, MASK) == pytest.approx(1)
    assert explained_variance(torch.zeros(4, 5), returns, MASK) == pytest.approx(0, abs=1e-6)
    assert math.isnan(explained_variance(returns, torch.ones(4, 5), MASK))


def test_kl_controller_steers_towards_its_target():
    fixed, steered = KLController(0.1), KLController(0.1, target=4.0, horizon=100)
    fixed.update(100.0, 50)
    steered.update(5.0, 50)  # error clipped to 0.2: 0.1 * (1 + 0.2 * 0.5)
    assert fixed.coef == 0.1 and steered.coef == pytest.approx(0.11)
    steered.update(3.8, 50)  # error -0.05
    assert steered.coef == pytest.approx(0.11 * (1 - 0.05 * 0.5))
