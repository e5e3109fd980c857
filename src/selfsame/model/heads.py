"""Heads on a role's hidden states: a scalar for a reward or value, labels for a pair of sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from selfsame.errors import RunError
from selfsame.types import LABELS

if TYPE_CHECKING:
    pass


class ScalarHead(nn.Module):
    """`gain * (w . h + b) + bias` in float32. Gain and bias normalise a trained reward (see `normalise`); they are saved
    with the head but not trained."""

    gain: Tensor
    bias: Tensor

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """(...,) scalars of hidden states (..., H)."""
        with torch.autocast("cuda" if hidden.is_cuda else "cpu", enabled=False):
            return self.gain * self.linear(hidden.float())[..., 0] + self.bias

    @torch.no_grad()
    def normalise(self, scores: Tensor) -> None:
        """Makes the scores, which this head gave to samples of the SFT model, mean 0 and standard deviation 1 (Ziegler et
        al. 2019, section 2.1): rewards of different models and runs are then on one scale.

        Raises:
            RunError: the scores are fewer than two, not finite, or all the same.
        """
        mean, std = scores.float().mean(), scores.float().std() if len(scores) > 1 else torch.tensor(0.0)
        if not (torch.isfinite(mean) and std > 1e-6):
            raise RunError(
                f"the reward model gives {len(scores)} samples a mean of {float(mean):.3g} and a standard deviation of"
                f" {float(std):.3g}: it cannot be normalised; train it on more pairs or for longer"
            )
        self.gain /= std
        self.bias.copy_((self.bias - mean) / std)


class LabelHead(nn.Module):
    """Logits of the labels of a pair of sentences, in float32: `W h + b`. It starts undecided."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, len(LABELS))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., 3) logits of hidden states (..., H)."""
        with torch.autocast("cuda" if hidden.is_cuda else "cpu", enabled=False):
            return self.linear(hidden.float())
