"""Decoding of several replies to a prompt, token by token, with the prompt's keys and values kept once.

A row of the batch is a prompt; its replies are several queries in it. Columns of the cache are the prompt's tokens, then the
replies' tokens step by step; `owner` says whose each is, and a reply sees the prompt and its own.

Axis letters: `_P` rows, `_M` replies of a row that are still in the batch, `_A` = P * M, `_C` columns of the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from selfsame.model.concurrent import concurrently
from selfsame.model.prefix_batch import as_masks, backbone, micro_batches
from selfsame.model.vocabulary import vocabulary_logits

_PADDING, _PROMPT = -2, -1
"""Owners of columns that are no reply's."""
_TOGETHER = 8192
"""Tokens of prompts, with padding, that are computed at once on a GPU at the most."""
_LEAST_BLOCK = 32
"""The cache grows by at least this many columns at a time."""


class DecodingState:
    """The cache, who sees what, and the logits of each reply's next token.

    Args:
        model: the causal language model, adapters switched.
        prompts: P prompts (token ids).
        samples: replies to each.
        length: longest reply, tokens.
        pad_id: any token.
    """

    logits_AV: Tensor
    """For the replies `reply_A`."""
    reply_A: Tensor
    """Number of each reply in the batch: those of one prompt after another."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], samples: int, length: int, pad_id: int) -> None:
        self.model, self.samples, device = model, samples, model.device
        width, lengths = max(map(len, prompts)), [len(p) for p in prompts]
        self.columns = width
        # A prompt's keys stand once for all replies. Measured on a busy CPU, 32 replies: .88 s instead of 1.98 s.
        self.layers = [
            _Columns(max(_LEAST_BLOCK, 8 * samples), width, len(prompts)) for _ in range(model.config.num_hidden_layers)
        ]
        self.cache, capacity = Cache([*self.layers]), self.layers[0].size_for(width + samples * length)
        self.next_P = torch.tensor(lengths, device=device)  # position of the next token
        self.position_PC = torch.zeros(len(prompts), capacity, dtype=torch.long, device=device)
        self.position_PC[:, :width] = torch.arange(width, device=device)
        self.owner_PC = torch.full((len(prompts), capacity), _PADDING, device=device)
        self.owner_PC[:, :width][self.position_PC[:, :width] < self.next_P[:, None]] = _PROMPT
        self.prompt_P = torch.arange(len(prompts), device=device)
        self.logits_AV = vocabulary_logits(model, self._read(prompts, pad_id)).repeat_interleave(samples, 0)
        self._lay_out(torch.arange(samples, device=device).expand(len(prompts), samples))

    def _read(self, prompts: Sequence[Sequence[int]], pad_id: int) -> Tensor:
        """Computes the prompts; returns (P, H) hidden states of their last tokens."""
        last: list[Tensor] = [torch.empty(0)] * len(prompts)
        # Measured, 24 prompts of 52 to 170 tokens, SmolLM2-135M in bfloat16 on a CPU: 2.0 s instead of 3.6 s all at once.
        groups = micro_batches([len(p) for p in prompts], _TOGETHER, self.model.device)

        def read(rows: list[int]) -> tuple[Tensor, DynamicCache]:
            some, cache = [prompts[i] for i in rows], DynamicCache()
            width = max(map(len, some))
            # Padding stands to the right of the prompt: the prompt does not see it, and `owner` hides it from the replies.
            ids_PT = torch.tensor([[*p, *[pad_id] * (width - len(p))] for p in some], device=self.model.device)
            made_PTH = backbone(self.model)(input_ids=ids_PT, past_key_values=cache, use_cache=True).last_hidden_state
            return made_PTH[torch.arange(len(some)), [len(p) - 1 for p in some]], cache

        for rows, (last_PH, cache) in zip(groups, concurrently(read, groups, self.model), strict=True):
            for layer, new in zip(self.layers, cache.layers, strict=False):
                layer.place(rows, new)
            for i, last_H in zip(rows, last_PH, strict=True):
                last[i] = last_H
        return torch.stack(last)

    def advance(self, token_A: Tensor, alive_A: Tensor) -> None:
        """Appends a token to each reply. Replies that are not alive may leave; `reply_A` then is shorter."""
        token_A = self._compact(token_A, alive_A)
        rows, replies = self.live_PM.shape
        position_PM = self.next_P[:, None].expand(rows, replies)
        self.position_PC[:, self.columns : self.columns + replies] = position_PM
        self.columns += replies
        hidden_PMH = backbone(self.model)(
            input_ids=token_A.view(rows, replies),
            attention_mask=as_masks(self.model, self._seen),
            position_ids=position_PM,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        self.next_P = self.next_P + 1
        self.logits_AV = vocabulary_logits(self.model, hidden_PMH.flatten(0, 1))

    def _compact(self, token_A: Tensor, alive_A: Tensor) -> Tensor:
        """Drops prompts whose replies have all ended, and columns of queries that no row needs, if that is a quarter."""
        alive_PM = alive_A.view(self.live_PM.shape)
        count_P = alive_PM.sum(1)
        kept, most = count_P.nonzero()[:, 0], int(count_P.max())
        if len(kept) * most > 0.75 * len(alive_A):
            return token_A
        # The living first; where a row has fewer than `most`, replies that ended fill it up.
        chosen_PM = (~alive_PM[kept]).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
        token_PM = token_A.view(self.live_PM.shape)[kept].gather(1, chosen_PM)
        live_PM = self.live_PM[kept].gather(1, chosen_PM)
        if len(kept) < len(count_P):
            self.cache.batch_select_indices(kept)
            for name in ("next_P", "position_PC", "owner_PC", "prompt_P"):
                setattr(self, name, getattr(self, name)[kept])
        self._lay_out(live_PM)
        return token_PM.flatten()

    def _lay_out(self, live_PM: Tensor) -> None:
        """Makes these replies (numbers within their rows) the queries of the steps to come."""
        self.live_PM, replies = live_PM, live_PM.shape[1]
        self.reply_A = (self.prompt_P[:, None] * self.samples + live_PM).flatten()
        steps = (self.owner_PC.shape[1] - self.columns) // replies
        self.owner_PC[:, self.columns : self.columns + steps * replies] = live_PM.repeat(1, steps)
        shared_P1C, owner_P1C = (self.owner_PC == _PROMPT)[:, None], self.owner_PC[:, None]
        self.seen_P1MC = (shared_P1C | (owner_P1C == live_PM[:, :, None]))[:, None]

    def _seen(self, window: int | None) -> Tensor:
        """(P, 1, M, C) keep-mask of the present step, for as many columns as the cache has by then."""
        size = self.layers[0].size_for(self.columns)
        seen_P1MC = self.seen_P1MC[..., :size] & (torch.arange(size, device=self.next_P.device) < self.columns)
        if window is None:
            return seen_P1MC
        near_PC = self.next_P[:, None] - self.position_PC[:, :size] < window
        return seen_P1MC & near_PC[:, None, None]


class _Columns(DynamicLayer):
    """Keys and values of a layer, (P, heads, C, d) each. A step writes its columns and copies no others: there is room for
    some more.

    Args:
        block: columns by which the tables grow.
        width: columns of the prompts.
        rows: of the tables.
    """

    def __init__(self, block: int, width: int, rows: int) -> None:
        super().__init__()
        self.block, self.width, self.rows, self.length = block, width, rows, 0

    def size_for(self, columns: int) -> int:
        """How many columns the tables have while the first `columns` are in use."""
        return -(-columns // self.block) * self.block

    def place(self, rows: Sequence[int], computed: Any) -> None:
        """Takes the keys and values of some prompts from the layer of another cache; families that share keys between layers
        have none in some."""
        if not computed.is_initialized:
            return
        new = computed.keys, computed.values
        if not self.is_initialized:
            self.dtype, self.device, self.length = new[0].dtype, new[0].device, self.width
            # Zeros, since what a mask hides is multiplied by 0 all the same, and memory may hold what is no number.
            self.keys, self.values = (
                t.new_zeros(self.rows, t.shape[1], self.size_for(self.width), t.shape[3]) for t in new
            )
            self.is_initialized = True
        tables: Any = (self.keys, self.values)
        for table, part in zip(tables, new, strict=True):
            table[rows, :, : part.shape[2]] = part

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """(P, heads, T, d) keys and values of T new columns; returns all of the tables: products of matrices would copy a part
        of them (measured: a quarter of a step of 24 replies)."""
        begin, self.length = self.length, self.length + key_states.shape[2]
        tables: Any = (self.keys, self.values)
        if (more := self.size_for(self.length) - tables[0].shape[2]) > 0:
            # Measured: concatenating the columns at every step took 35 % of the time of decoding.
            tables = tuple(nn.functional.pad(table, (0, 0, 0, more)) for table in tables)
            self.keys, self.values = tables
        for table, new in zip(tables, (key_states, value_states), strict=True):
            table[:, :, begin : self.length] = new
        return tables

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.size_for(self.length + query_length), 0
