"""Keys and values of prompts that were computed before: a persona, or all of a chat that continues, is not computed again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
from torch import Tensor

Layers = list[tuple[Tensor, Tensor] | None]
"""Of each layer the keys and values of one row, (heads, T, d); None: the layer keeps none."""


class Shared(NamedTuple):
    """How many tokens a prompt has in common with a known one, and what was computed of that."""

    length: int
    layers: Layers


@dataclass(frozen=True)
class _Kept:
    owner: object
    ids: np.ndarray
    layers: Layers
    size: int


class KeptPrefixes:
    """What the last chats left, up to a number of bytes; the one that was not used for longest is forgotten first.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._kept)

    def longest(self, owner: object, ids: Sequence[int]) -> Shared:
        """What is known of the beginning of these tokens. `owner`: whose keys and values they are."""
        wanted, best, found = np.asarray(ids), 0, None
        for number, kept in self._kept.items():
            if kept.owner == owner and (length := shared_length(wanted, kept.ids)) > best:
                best, found = length, number
        if found is None:
            return Shared(0, [])
        self._kept.move_to_end(found)
        return Shared(best, self._kept[found].layers)

    def keep(self, owner: object, ids: Sequence[int], layers: Layers) -> None:
        """Remembers a row of tokens. Rows that it continues are forgotten, since it holds them."""
        size = sum(t.numel() * t.element_size() for pair in layers if pair for t in pair)
        if size > self.limit:
            return
        row = np.asarray(ids)
        for number, kept in list(self._kept.items()):
            if kept.owner == owner and shared_length(row, kept.ids) == len(kept.ids):
                self._forget(number)
        while self.size + size > self.limit:
            self._forget(next(iter(self._kept)))
        self._kept[next(self._numbers)] = _Kept(owner, row, layers, size)
        self.size += size

    def _forget(self, number: int) -> None:
        self.size -= self._kept.pop(number).size


def shared_length(one: np.ndarray, other: np.ndarray) -> int:
    """How many tokens two rows begin with in common."""
    size = min(len(one), len(other))
    different = np.flatnonzero(one[:size] != other[:size])
    return int(different[0]) if len(different) else size
