"""Replies under way in one batch, which another may join, and which each may leave, between any two tokens.

A row of the batch is a prompt with its reply. A column of the cache is a position, so rows of any length stand together, and
a mask hides from each row the columns behind its end.

Axis letters: `_A` rows of a pass, `_C` columns of the cache, `_T` new tokens of a row, `_R` tokens of a reply.
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

from selfsame.model.prefix_batch import as_masks, backbone, micro_batches
from selfsame.model.roles import Roles
from selfsame.model.vocabulary import vocabulary_logits
from selfsame.rollout.prefixes import KeptPrefixes, Shared, shared_length
from selfsame.rollout.sampler import sample_token

_BLOCK = 64
"""The cache grows by so many columns at a time."""
_TOGETHER = 4096
"""Tokens of prompts, with padding, that are computed at once on a GPU at the most: replies under way wait for them."""
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

    def join(self, replies: Sequence[SlotReply]) -> None:
        """Takes replies in. Their prompts are computed, those of similar length together, but for what they have in common with
        ones that are known or under way."""
        waiting = list(replies)
        while waiting:
            now, waiting = self._apart(waiting)
            known = [self._known(reply.prompt) for reply in now]
            sizes = [len(reply.prompt) - shared.length for reply, shared in zip(now, known, strict=True)]
            for group in micro_batches(sizes, _TOGETHER, self.roles.device):
                self._read([now[k] for k in group], [known[k] for k in group])

    def _apart(self, replies: Sequence[SlotReply]) -> tuple[list[SlotReply], list[SlotReply]]:
        """Those to compute now, and those that have half of their prompt in common with one of these and can take it then."""
        now: list[SlotReply] = []
        later: list[SlotReply] = []
        for reply in replies:
            prompt, known = np.asarray(reply.prompt), self._known(reply.prompt).length
            common = max((shared_length(prompt, np.asarray(other.prompt)) for other in now), default=0)
            (later if common - known >= max(_LEAST_SHARED, len(prompt) // 2) else now).append(reply)
        return now, later

    def _read(self, replies: Sequence[SlotReply], known: Sequence[Shared]) -> None:
        first, device = len(self.replies), self.roles.device
        rest = [reply.prompt[shared.length :] for reply, shared in zip(replies, known, strict=True)]
        width = max(map(len, rest))
        begin_A = torch.tensor([shared.length for shared in known], device=device)
        self._make_room(first + len(replies), int(begin_A.max()) + width)
        for row, shared in enumerate(known, first):
            for layer, pair in zip(self._layers, shared.layers, strict=False):  # no layers where nothing is shared
                if pair:
                    layer.copy_in(row, shared.length, pair)
        # Padding stands behind the prompt: no token of the prompt sees it, and those of the reply overwrite it.
        ids_AT = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in rest], device=device)
        column_AT = begin_A[:, None] + torch.arange(width, device=device)
        self._room.place(slice(first, first + len(replies)), column_AT)
        length_A = torch.tensor([len(reply.prompt) for reply in replies], device=device)
        logits_AV = self._pass(ids_AT, column_AT.minimum(length_A[:, None] - 1), length_A - begin_A - 1)
        for reply, shared, logits_V in zip(replies, known, logits_AV, strict=True):
            reply.reused, reply.length, reply.logits_V = shared.length, len(reply.prompt), logits_V
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
        self._make_room(len(self.replies), int(length_A.max()) + 1)
        self._room.place(slice(0, len(self.replies)), length_A[:, None])
        token_A1 = torch.tensor([[reply.ids[-1]] for reply in self.replies], device=self.roles.device)
        logits_AV = self._pass(token_A1, length_A[:, None], torch.zeros_like(length_A))
        for reply, logits_V in zip(self.replies, logits_AV, strict=True):
            reply.logits_V = logits_V
            reply.length += 1

    def _pass(self, ids_AT: Tensor, position_AT: Tensor, last_A: Tensor) -> Tensor:
        """(A, V) logits after the token `last_A` of each row."""
        column_C = torch.arange(self._room.columns, device=self.roles.device)
        distance_ATC = position_AT[:, :, None] - column_C

        def seen(window: int | None) -> Tensor:
            near_ATC = distance_ATC >= 0
            return (near_ATC if window is None else near_ATC & (distance_ATC < window))[:, None]

        assert self._model is not None, "only inside `turn`"
        hidden_ATH = backbone(self._model)(
            input_ids=ids_AT,
            attention_mask=as_masks(self._model, seen),
            position_ids=position_AT,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return vocabulary_logits(self._model, hidden_ATH[torch.arange(len(last_A), device=last_A.device), last_A])

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
    """Size of the tables of all layers, and where the present pass writes: its rows, and the columns of each of them."""

    rows: int = 0
    columns: int = 0
    at: slice = field(default_factory=lambda: slice(0))
    row_A1: Tensor | None = None
    column_AT: Tensor | None = None

    def place(self, at: slice, column_AT: Tensor) -> None:
        self.at, self.column_AT = at, column_AT
        self.row_A1 = torch.arange(at.start, at.stop, device=column_AT.device)[:, None]


class _Rows(DynamicLayer):
    """Keys and values of a layer, (rows, heads, C, d) each."""

    def __init__(self, room: _Room) -> None:
        super().__init__()
        self.room = room

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Writes the new columns; returns all of the rows of this pass: products of matrices would copy a part of them."""
        self._start(key_states, value_states)
        return self._write(self.keys, key_states), self._write(self.values, value_states)

    def _write(self, table: Any, new: Tensor) -> Tensor:
        table[self.room.row_A1, :, self.room.column_AT] = new.transpose(1, 2)
        return table[self.room.at]

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
        return 0 if self.room.column_AT is None else int(self.room.column_AT[0, 0])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.room.columns, 0
