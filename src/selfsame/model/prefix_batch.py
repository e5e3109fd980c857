"""The one batch type: rows that are a prompt followed by its replies.

Every reply sees the prompt and itself, never its siblings: its positions start again at the prompt's end, and a mask says
who sees whom. The prompt is computed once for all its replies. A whole dialogue is a row too: its replies are the bot's
turns, and each sees everything before it. Exact: `tests/model/test_prefix_batch.py` compares both with one plain
forward per reply, on every supported family.

Axis letters: `_B` rows, `_T` tokens of a row, `_N` replies of the batch, `_R` tokens of a reply, `_V` vocabulary, `_H` hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from selfsame.data.processor import EncodedDialogue
from selfsame.errors import ConfigError
from selfsame.model.concurrent import CPU_TOKENS, concurrently
from selfsame.model.vocabulary import token_logprobs

# Measured on a CPU: an update takes 4.6 to 5.3 s with batches of 1,024 tokens, with one of 4,096 6.0 to 7.7 s.
PASS_PRICE = {"cpu": 128, "cuda": 4096}
"""What a pass through the model costs apart from its tokens, in tokens. On a CPU so few that batches of little padding, which
stay in its cache, win (measured); on a GPU small batches wait for the launching of kernels (assumed, not measured)."""
Measured = TypeVar("Measured")


class LowerStates(Protocol):
    """Hidden states of the lower blocks of some rows, known before (`model/trunk.py`)."""

    def take(self, indices: Sequence[int]) -> LowerStates:
        """The states of these rows."""
        ...

    def applied(self) -> AbstractContextManager[None]:
        """Passes through the model, of a batch of these rows, begin with these states."""
        ...


@dataclass(frozen=True)
class PrefixBatch:
    """A batch. `branch_BT` is 0 on what every token after it sees, k > 0 on reply k, -1 on padding; None: every row is a
    plain sequence. Token `target_NR[n, r]` of row `row_N[n]` is predicted from the hidden state at `source_NR[n, r]`. `trunk`:
    hidden states of the lower blocks, where they are known."""

    ids_BT: Tensor
    position_BT: Tensor
    branch_BT: Tensor | None
    row_N: Tensor
    source_NR: Tensor
    target_NR: Tensor
    reply_mask_NR: Tensor
    trunk: LowerStates | None = None

    @property
    def reply_ids_NR(self) -> Tensor:
        return self.ids_BT[self.row_N[:, None], self.target_NR]

    def to(self, device: torch.device) -> PrefixBatch:
        return replace(self, **{name: t.to(device) for name, t in vars(self).items() if isinstance(t, Tensor)})

    def scatter(self, values_M: Tensor) -> Tensor:
        """One value per reply token, in the order of `reply_mask_NR.nonzero()`, as (N, R) with zeros as padding."""
        out_NR = values_M.new_zeros(self.reply_mask_NR.shape)
        return out_NR.masked_scatter(self.reply_mask_NR, values_M)


def prefix_batch(
    prompts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[Sequence[int]]],
    pad_id: int = 0,
    trunk: LowerStates | None = None,
) -> PrefixBatch:
    """Rows of a prompt and its replies (token ids); replies are numbered row by row. `trunk`: of these rows."""
    # Measured: PPO does 1.9, 3.0, 4.0 and 4.1 replies a second with 1, 2, 4 and 8 replies to a prompt.
    rows, positions, branches, spans = [], [], [], []
    for b, (prompt, siblings) in enumerate(zip(prompts, replies, strict=True)):
        ids, position, kind = list(prompt), list(range(len(prompt))), [0] * len(prompt)
        for k, reply in enumerate(siblings, 1):
            spans.append(_Span(b, len(ids), len(reply), len(prompt) - 1))
            ids += reply
            position += range(len(prompt), len(prompt) + len(reply))
            kind += [k] * len(reply)
        rows.append(ids)
        positions.append(position)
        branches.append(kind)
    single = all(len(siblings) <= 1 for siblings in replies)
    batch = _assemble(rows, positions, None if single else branches, spans, pad_id)
    return batch if trunk is None else replace(batch, trunk=trunk)


def dialogue_batch(dialogues: Sequence[EncodedDialogue], pad_id: int = 0) -> PrefixBatch:
    """Rows of whole dialogues; the replies are the own turns."""
    rows = [d.ids for d in dialogues]
    spans = [_Span(b, start, end - start, start - 1) for b, d in enumerate(dialogues) for start, end in d.spans]
    return _assemble(rows, [list(range(len(r))) for r in rows], None, spans, pad_id)


class _Span(NamedTuple):
    """Where a reply stands: its row, first token and length. Its first token is predicted from the state at `before`."""

    row: int
    start: int
    length: int
    before: int


def _assemble(
    rows: list[list[int]],
    positions: list[list[int]],
    branches: list[list[int]] | None,
    spans: Sequence[_Span],
    pad_id: int,
) -> PrefixBatch:
    row_N, start_N, length_N, before_N = torch.tensor(spans).unbind(1)
    offset_R = torch.arange(int(length_N.max()))
    mask_NR = offset_R < length_N[:, None]
    target_NR = (start_N[:, None] + offset_R) * mask_NR
    source_NR = torch.where(offset_R == 0, before_N[:, None], target_NR - 1) * mask_NR
    return PrefixBatch(
        ids_BT=_padded(rows, pad_id),
        position_BT=_padded(positions, 0),
        branch_BT=None if branches is None else _padded(branches, -1),
        row_N=row_N,
        source_NR=source_NR,
        target_NR=target_NR,
        reply_mask_NR=mask_NR,
    )


def _padded(rows: list[list[int]], fill: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([r + [fill] * (width - len(r)) for r in rows])


def micro_batches(lengths: Sequence[int], token_budget: int, device: torch.device | None = None) -> list[list[int]]:
    """Indices grouped into batches of similar length, each of at most `token_budget` tokens with padding (or one row), so that
    padding and the fixed price of a pass together are least. The longest come first. On a CPU no batch has more than
    `CPU_TOKENS`."""
    on_cpu = device is None or device.type == "cpu"
    price = PASS_PRICE["cpu" if on_cpu else "cuda"]
    token_budget = min(token_budget, CPU_TOKENS) if on_cpu else token_budget
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    best, begin = [0.0], [0]  # of the first k rows: the least price, and where their last batch begins
    for end in range(1, len(order) + 1):
        width = lengths[order[end - 1]]
        starts = range(min(end - 1, max(0, end - token_budget // width)), end)
        prices = [best[k] + width * (end - k) + price for k in starts]
        best.append(min(prices))
        begin.append(starts[prices.index(best[end])])
    batches, end = [], len(order)
    while end:
        batches.append(order[begin[end] : end])
        end = begin[end]
    return batches


def over_prefix_batches(
    measure: Callable[[PrefixBatch], Measured],
    model: Any,
    prompts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[Sequence[int]]],
    token_budget: int,
    pad_id: int,
    trunk: LowerStates | None = None,
) -> Iterator[tuple[list[int], Measured]]:
    """The rows in micro-batches: (indices of its rows, what `measure` finds of it) each. `measure` is a pass through `model`;
    on a CPU several run at once. `trunk`: of all rows."""
    lengths = [len(p) + sum(map(len, r)) for p, r in zip(prompts, replies, strict=True)]
    groups = micro_batches(lengths, token_budget, model.device)

    def measured(rows: list[int]) -> Measured:
        known = None if trunk is None else trunk.take(rows)
        some = prefix_batch([prompts[i] for i in rows], [replies[i] for i in rows], pad_id, known)
        return measure(some.to(model.device))

    yield from zip(groups, concurrently(measured, groups, model, token_budget), strict=True)


# --- who sees whom ------------------------------------------------------------------------------------------------------


def visible(batch: PrefixBatch, window: int | None = None) -> Tensor:
    """(B, 1, T, T) keep-mask: a token sees the shared part and its own branch up to itself; with a sliding window, as many
    positions back as `window` (cut by position, not by place in the row)."""
    branch_BT, position_BT = batch.branch_BT, batch.position_BT
    assert branch_BT is not None
    causal_TT = torch.ones(branch_BT.shape[1], branch_BT.shape[1], dtype=torch.bool, device=branch_BT.device).tril()
    key_B1T, query_BT1 = branch_BT[:, None, :], branch_BT[:, :, None]
    seen_BTT = causal_TT & ((key_B1T == 0) | (key_B1T == query_BT1))
    if window is not None:
        seen_BTT = seen_BTT & (position_BT[:, :, None] - position_BT[:, None, :] < window)
    return seen_BTT[:, None]


def attention_masks(model: Any, batch: PrefixBatch) -> Any:
    """What to pass as `attention_mask`: None for plain rows (padding stands to the right of what sees it), else the masks."""
    if batch.branch_BT is None:
        return None
    return as_masks(model, lambda window: visible(batch, window))


def as_masks(model: Any, seen: Callable[[int | None], Tensor]) -> Any:
    """`seen(window)`, (B, 1, T, S) keep-masks, as the model wants them: one mask, or one for each type of layer where the
    family mixes full and sliding attention."""
    masks = {kind: _as_attention_expects(model, seen(window)) for kind, window in layer_windows(model.config).items()}
    return masks if len(masks) > 1 else next(iter(masks.values()))


def layer_windows(config: Any) -> dict[str, int | None]:
    """Type of attention layer -> its sliding window (None: sees everything), for the types that the model has."""
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds:
        full = window is None or not getattr(config, "use_sliding_window", True)
        kinds = {"full_attention" if full else "sliding_attention"}
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(kinds)}


def _as_attention_expects(model: Any, seen_B1TS: Tensor) -> Tensor:
    if model.config._attn_implementation == "sdpa":
        return seen_B1TS
    dtype = model.dtype
    return torch.zeros(seen_B1TS.shape, dtype=dtype, device=seen_B1TS.device).masked_fill(
        ~seen_B1TS, torch.finfo(dtype).min
    )


# --- forward ------------------------------------------------------------------------------------------------------------


def backbone(model: Any) -> Any:
    """The model without its vocabulary head."""
    return getattr(model, model.base_model_prefix)


def hidden_states(model: Any, batch: PrefixBatch) -> Tensor:
    """(B, T, H) last hidden states of a causal language model (adapters, if any, as they are switched)."""
    masks = attention_masks(model, batch)
    positions = {} if batch.branch_BT is None else {"position_ids": batch.position_BT}
    with nullcontext() if batch.trunk is None else batch.trunk.applied():
        made = backbone(model)(input_ids=batch.ids_BT, attention_mask=masks, use_cache=False, **positions)
    return made.last_hidden_state


def reply_logprobs(
    model: Any, batch: PrefixBatch, temperature: float = 1.0, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """((N, R) log-probabilities of the reply tokens, (N, R) entropies in nats if asked for), zeros on padding."""
    return logprobs_of(model, batch, source_states(batch, hidden_states(model, batch)), temperature, entropy)


def logprobs_of(
    model: Any,
    batch: PrefixBatch,
    states_MH: Tensor,
    temperature: float = 1.0,
    entropy: bool = False,
    entropy_gradient: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """As `reply_logprobs`, from `source_states`: the vocabulary head runs on the positions that predict a reply token and on
    no others."""
    token_M = batch.reply_ids_NR[batch.reply_mask_NR]
    logprob_M, entropy_M = token_logprobs(model, states_MH, token_M, temperature, entropy, entropy_gradient)
    return batch.scatter(logprob_M), None if entropy_M is None else batch.scatter(entropy_M)


def source_states(batch: PrefixBatch, hidden_BTH: Tensor) -> Tensor:
    """(M, H) hidden states from which the M reply tokens are predicted (before each action, in RL terms)."""
    return hidden_BTH[_rows_of(batch), batch.source_NR[batch.reply_mask_NR]]


def final_states(batch: PrefixBatch, hidden_BTH: Tensor) -> Tensor:
    """(N, H) hidden states at the last token of each reply."""
    last_N = batch.target_NR.gather(1, batch.reply_mask_NR.sum(1, keepdim=True) - 1)[:, 0]
    return hidden_BTH[batch.row_N, last_N]


def _rows_of(batch: PrefixBatch) -> Tensor:
    """(M,) the row of each reply token."""
    return batch.row_N[:, None].expand_as(batch.source_NR)[batch.reply_mask_NR]


@torch.no_grad()
def check_exactness(model: Any) -> None:
    """Compares a small shared-prompt batch with plain forwards of the whole model; costs two short passes.

    Raises:
        ConfigError: the family computes something else (an attention or a vocabulary head that this module does not know).
    """
    generator = torch.Generator().manual_seed(0)
    prompt, first, second = (
        torch.randint(model.config.vocab_size, (n,), generator=generator).tolist() for n in (7, 4, 5)
    )
    batch = prefix_batch([prompt], [[first, second]]).to(model.device)
    # Other people's modules are used as they are: a family that breaks an assumption is refused, not computed wrongly.
    shared_NR, _ = reply_logprobs(model, batch)
    for reply, ours_R in zip((first, second), shared_NR, strict=True):
        ids = torch.tensor([prompt + reply], device=model.device)
        logprobs = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
        plain_R = logprobs[len(prompt) - 1 : -1].gather(-1, ids[0, len(prompt) :, None])[:, 0]
        error = float((ours_R[: len(reply)] - plain_R).abs().max())
        if not error < (1e-3 if model.dtype == torch.float32 else 0.25):
            raise ConfigError(
                f"models of the family {model.config.model_type} cannot share a prompt between replies:"
                f" log-probabilities differ by {error:.3g}; choose a model of another family"
            )
