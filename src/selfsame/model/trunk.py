"""The trunk: the blocks below the first adapter.

They are frozen and the same for every role. Their hidden states are computed once for a rollout and serve every role, in
every pass over it.

Nothing of the model is written anew: while states are given, the lower blocks hand them through instead of computing. Whatever
a family does before, between and after its blocks stays its own.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from selfsame.errors import ConfigError
from selfsame.model.prefix_batch import PrefixBatch, hidden_states, over_prefix_batches, prefix_batch


class Trunk:
    """The lower blocks of a model.

    Args:
        model: a causal language model; its lower blocks' `forward` is replaced.
        upper: number of blocks above the trunk.
    """

    def __init__(self, model: Any, upper: int) -> None:
        self._now = _Now()
        self.depth = model.config.num_hidden_layers - upper
        self._own = [(block, block.forward) for block in blocks_of(model)[1][: self.depth]]
        for k, (block, forward) in enumerate(self._own):
            # Measured with adapters in the upper half: a PPO step takes 3.5 s, without a trunk 5.9 s.
            block.forward = partial(self._forward, k, forward)

    @torch.no_grad()
    def states(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        replies: Sequence[Sequence[Sequence[int]]],
        token_budget: int,
        pad_id: int = 0,
    ) -> TrunkStates:
        """Hidden states after the trunk, of each prompt with its replies."""
        found: list[Tensor] = [torch.empty(0)] * len(prompts)
        below = partial(self._below, model)
        for rows, states_BTH in over_prefix_batches(below, model, prompts, replies, token_budget, pad_id):
            for i, states_TH in zip(rows, states_BTH, strict=True):
                found[i] = states_TH[: len(prompts[i]) + sum(map(len, replies[i]))].clone()
        return TrunkStates(self, found)

    def _below(self, model: Any, batch: PrefixBatch) -> Tensor:
        self._now.listening = True
        try:
            hidden_states(model, batch)
        except _Reached as reached:
            return reached.states_BTH
        finally:
            self._now.listening = False
        raise AssertionError("a pass through the model ended without its lower blocks")

    @contextmanager
    def given(self, states_BTH: Tensor) -> Iterator[None]:
        """Passes through the model begin with these states."""
        self._now.given = states_BTH
        try:
            yield
        finally:
            self._now.given = None

    def _forward(self, number: int, forward: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if (given := self._now.given) is not None:
            return given if number == 0 else hidden_states
        made = forward(hidden_states, *args, **kwargs)
        if self._now.listening and number + 1 == self.depth:
            raise _Reached(made)
        return made

    @torch.no_grad()
    def is_exact(self, model: Any) -> bool:
        """Compares two short passes of the whole model, without and with given states. The blocks of some families pass on
        more than hidden states; those have to be computed every time."""
        generator = torch.Generator().manual_seed(0)
        prompt, one, other = (
            torch.randint(model.config.vocab_size, (n,), generator=generator).tolist() for n in (7, 4, 5)
        )
        batch = prefix_batch([prompt], [[one, other]]).to(model.device)
        try:
            plain = hidden_states(model, batch).float()
            with self.states(model, [prompt], [[one, other]], len(prompt) + 9).applied():
                error = (hidden_states(model, batch).float() - plain).norm() / plain.norm()
        except (
            AttributeError,
            TypeError,
            IndexError,
            ValueError,
        ):  # what a block gives or takes is no tensor of states
            return False
        return bool(error < (1e-4 if model.dtype == torch.float32 else 1e-2))

    def restore_blocks(self) -> None:
        """Gives the blocks their own `forward` back."""
        for block, forward in self._own:
            block.forward = forward


class _Now(threading.local):
    """What the pass at hand is for; each thread has a pass of its own."""

    given: Tensor | None = None
    listening: bool = False

    def __reduce__(self) -> Any:
        return _Now, ()  # a copy of the model has a pass of its own


@dataclass(frozen=True)
class TrunkStates:
    """What the trunk gave for some rows: (T, H) each, with the row's own T."""

    trunk: Trunk
    rows: list[Tensor]

    def take(self, indices: Sequence[int]) -> TrunkStates:
        return TrunkStates(self.trunk, [self.rows[i] for i in indices])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Passes through the model, of a batch of these rows, begin with these states."""
        with self.trunk.given(pad_sequence(self.rows, batch_first=True)):
            yield


class _Reached(Exception):
    """The end of the trunk; the rest of the pass is not needed."""

    def __init__(self, states_BTH: Tensor) -> None:
        self.states_BTH = states_BTH


def trunk_of(model: Any, upper: int) -> Trunk | None:
    """The trunk below the last `upper` blocks; None where there is no block below them or the family cannot do without."""
    if upper >= model.config.num_hidden_layers:
        return None
    trunk = Trunk(model, upper)
    if model.device.type == "meta" or trunk.is_exact(model):  # without content there is nothing to compare
        return trunk
    trunk.restore_blocks()
    warnings.warn(
        f"every pass computes all blocks: those of {model.config.model_type} share more than states", stacklevel=2
    )
    return None


def blocks_of(model: Any) -> tuple[str, Any]:
    """(full name, list) of a model's blocks.

    Raises:
        ConfigError: the model has none that could be found.
    """
    total = model.config.num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == total:
            return name, module
    raise ConfigError(
        f"the blocks of models of the family {model.config.model_type} were not found: leave model.lora.layers and"
        " model.shard out"
    )
