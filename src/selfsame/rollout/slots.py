"""Replies under way in one batch, which another may join, and which each may leave, between any two tokens.

A row of the batch is a prompt with its reply. A column of the cache is a position, so rows of any length stand together, and
a mask hides from each row the columns behind its end.

Axis letters: `_A` rows under way, `_C` columns of the cache, `_T` tokens of a prompt, `_R` tokens of a reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from selfsame.model.prefix_batch import as_masks, backbone
from selfsame.model.roles import Roles
from selfsame.model.vocabulary import vocabulary_logits
from selfsame.rollout.prefixes import KeptPrefixes, Shared, shared_length
from selfsame.rollout.sampler import sample_token

_BLOCK = 128
"""The cache grows by so many columns at a time."""
_LEAST_SHARED = 8
"""Fewer tokens are computed again: all prompts of a chat template begin with a few that are the same."""


@dataclass(eq=False)
class SlotReply:
    """A reply under way.

    Attributes:
        prompt: token ids.
        uniform_R: a random number for each token that it may have.
        temperature, top_p: of its sampling.
        ids: its tokens so far.
        reused: tokens of the prompt that were not computed again.
    """

    prompt: Sequence[int]
    uniform_R: Tensor
    temperature: float = 1.0
    top_p: float = 1.0
    ids: list[int] = field(default_factory=list)
    reused: int = 0
    length: int = 0  # columns that are computed
    logits_V: Tensor | None = None  # of the next token

    @property
    def computed(self) -> list[int]:
        """The tokens whose keys and values are there."""
        return [*self.prompt, *self.ids][: self.length]


class Slots:
    """The replies of one role that are under way. Inside `turn`: `join` takes one in, `sample` gives each its next token,
    `leave` lets one go, `advance` computes what follows the tokens. A reply has the tokens that `RolloutEngine` gives it alone.

    Args:
        roles: the model.
        role: who speaks; None: the base.
        kept: what is known of prompts.
    """

    def __init__(self, roles: Roles, role: str | None, kept: KeptPrefixes) -> None:
        self.roles, self.role, self.kept = roles, role, kept
        self.replies: list[SlotReply] = []
        self._owner, self._model = (id(roles), role), None
        self._clear()

    def _clear(self) -> None:
        """Lets go of the memory of the cache."""
        self._room = _Room()
        self._layers = [_Rows(self._room) for _ in range(self.roles.config.num_hidden_layers)]
        self._cache = Cache([*self._layers])

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The role is in force."""
        with torch.no_grad(), self.roles.use(self.role) as model:
            self._model = model
            try:
                yield
            finally:
                self._model = None

    def join(self, reply: SlotReply) -> None:
        """Takes a reply in. Its prompt is computed, but for what it has in common with one that is known or under way."""
        row, needed = len(self.replies), len(reply.prompt) + len(reply.uniform_R)
        self._make_room(row + 1, needed)
        shared = self._known(reply.prompt)
        for layer, pair in zip(self._layers, shared.layers, strict=False):  # no layers where nothing is shared
            if pair:
                layer.copy_in(row, shared.length, pair)
        reply.reused, reply.length = shared.length, len(reply.prompt)
        self._room.place(slice(row, row + 1), shared.length, reply.length)
        position_1T = torch.arange(shared.length, reply.length, device=self.roles.device)[None]
        logits_AV = self._pass(torch.tensor([reply.prompt[shared.length :]]), position_1T)
        reply.logits_V = logits_AV[0]
        self.replies.append(reply)

    def sample(self) -> list[SlotReply]:
        """Gives each reply its next token; the replies are returned. Those that are not to go on have to leave then."""
        groups: dict[tuple[float, float], list[SlotReply]] = {}
        for reply in self.replies:
            groups.setdefault((reply.temperature, reply.top_p), []).append(reply)
        for (temperature, top_p), some in groups.items():
            logits_AV = torch.stack([reply.logits_V for reply in some if reply.logits_V is not None])
            uniform_A = torch.stack([reply.uniform_R[len(reply.ids)] for reply in some]).to(logits_AV.device)
            token_A, _ = sample_token(logits_AV, uniform_A, temperature, top_p)
            for reply, token in zip(some, token_A.tolist(), strict=True):
                reply.ids.append(token)
        return list(self.replies)

    def leave(self, reply: SlotReply, keep: bool = True) -> None:
        """Lets a reply go; another takes its row. `keep`: what was computed serves later prompts that begin alike."""
        row, last = self.replies.index(reply), len(self.replies) - 1
        if keep:
            self.kept.keep(self._owner, reply.computed, [layer.copy_out(row, reply.length) for layer in self._layers])
        mover = self.replies.pop()
        if row != last:
            self.replies[row] = mover
            for layer, pair in ((layer, layer.row(last)) for layer in self._layers):
                if pair:
                    layer.copy_in(row, mover.length, pair)
        reply.logits_V = None
        if not self.replies:
            self._clear()

    def advance(self) -> None:
        """Computes what follows the last token of each reply."""
        if not self.replies:
            return
        length_A = torch.tensor([reply.length for reply in self.replies], device=self.roles.device)
        width = max(reply.length for reply in self.replies) + 1
        self._room.place(slice(0, len(self.replies)), width - 1, width, length_A)
        token_A1 = torch.tensor([[reply.ids[-1]] for reply in self.replies])
        logits_AV = self._pass(token_A1, length_A[:, None])
        for reply, logits_V in zip(self.replies, logits_AV, strict=True):
            reply.logits_V = logits_V
            reply.length += 1

    def _pass(self, ids_AT: Tensor, position_AT: Tensor) -> Tensor:
        """(A, V) logits after the last of these tokens."""
        column_C = torch.arange(self._room.width, device=self.roles.device)
        distance_ATC = position_AT[:, :, None] - column_C

        def seen(window: int | None) -> Tensor:
            near_ATC = distance_ATC >= 0
            return (near_ATC if window is None else near_ATC & (distance_ATC < window))[:, None]

        assert self._model is not None, "only inside `turn`"
        hidden_ATH = backbone(self._model)(
            input_ids=ids_AT.to(self.roles.device),
            attention_mask=as_masks(self._model, seen),
            position_ids=position_AT,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return vocabulary_logits(self._model, hidden_ATH[:, -1])

    def _known(self, prompt: Sequence[int]) -> Shared:
        """The longest beginning of the prompt that is known, or under way; its last token is computed in any case."""
        begin = prompt[:-1]
        best, wanted = self.kept.longest(self._owner, begin), np.asarray(begin)
        for row, other in enumerate(self.replies):
            length = shared_length(wanted, np.asarray(other.computed))
            if length > best.length:
                best = Shared(length, [layer.row(row) for layer in self._layers])
        return best if best.length >= _LEAST_SHARED else Shared(0, [])

    def _make_room(self, rows: int, columns: int) -> None:
        room = self._room
        if rows > room.rows or columns > room.columns:
            room.rows = max(room.rows, 1 << (rows - 1).bit_length())
            room.columns = max(room.columns, -(-columns // _BLOCK) * _BLOCK)
            for layer in self._layers:
                layer.grow()


@dataclass
class _Room:
    """Size of the tables of all layers, and where the present pass writes: its rows, and the columns from `begin` to `width`;
    or one column of each row, `length_A`."""

    rows: int = 0
    columns: int = 0
    at: slice = field(default_factory=lambda: slice(0))
    begin: int = 0
    width: int = 0
    length_A: Tensor | None = None
    row_A: Tensor | None = None

    def place(self, at: slice, begin: int, width: int, length_A: Tensor | None = None) -> None:
        self.at, self.begin, self.width, self.length_A = at, begin, width, length_A
        self.row_A = None if length_A is None else torch.arange(len(length_A), device=length_A.device)


class _Rows(DynamicLayer):
    """Keys and values of a layer, (rows, heads, C, d) each."""

    def __init__(self, room: _Room) -> None:
        super().__init__()
        self.room = room

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Writes the new columns; returns those that the rows of this pass may see."""
        self._start(key_states, value_states)
        return self._write(self.keys, key_states), self._write(self.values, value_states)

    def _write(self, table: Any, new: Tensor) -> Tensor:
        room = self.room
        if room.length_A is None:
            table[room.at, :, room.begin : room.width] = new
        else:
            table[room.row_A, :, room.length_A] = new[:, :, 0]
        return table[room.at, :, : room.width]

    def _start(self, keys: Tensor, values: Tensor) -> None:
        if self.is_initialized:
            return
        self.dtype, self.device, room = keys.dtype, keys.device, self.room
        # Zeros, since what a mask hides is multiplied by 0 all the same, and memory may hold what is no number.
        self.keys, self.values = (
            t.new_zeros(room.rows, t.shape[-3], room.columns, t.shape[-1]) for t in (keys, values)
        )
        self.is_initialized = True

    def grow(self) -> None:
        """Makes the tables as large as the room is."""
        if not self.is_initialized:
            return
        old: Any = (self.keys, self.values)
        self.is_initialized = False
        self._start(*old)
        new: Any = (self.keys, self.values)
        for larger, smaller in zip(new, old, strict=True):
            larger[: smaller.shape[0], :, : smaller.shape[2]] = smaller

    def row(self, row: int) -> tuple[Tensor, Tensor] | None:
        """(heads, C, d) keys and values of a row."""
        return (self.keys[row], self.values[row]) if self.is_initialized else None  # pyright: ignore

    def copy_in(self, row: int, length: int, pair: tuple[Tensor, Tensor]) -> None:
        """The first columns of a row, from another."""
        self._start(*pair)
        for table, source in zip((self.keys, self.values), pair, strict=True):
            table[row, :, :length] = source[:, :length]  # pyright: ignore

    def copy_out(self, row: int, length: int) -> tuple[Tensor, Tensor] | None:
        """A copy of the first columns of a row."""
        pair = self.row(row)
        return pair and (pair[0][:, :length].clone(), pair[1][:, :length].clone())

    def get_seq_length(self) -> int:
        return self.room.begin

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.room.width, 0
