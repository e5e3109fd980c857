"""The workload of a run: number and length of prompts, dialogues and replies, read from the data or assumed."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfsame.config import Config
from selfsame.data.loader import Dataset, DatasetLoader
from selfsame.data.pairs import PreferenceGenerator
from selfsame.data.processor import DataProcessor, EncodedDialogue
from selfsame.errors import ConfigError, DataError

SAMPLE = 200
"""Dialogues, prompts and pairs that lengths are taken from."""
PERSONA_TOKENS, TURN_TOKENS, TURNS = 60, 16, 12
SIDES, HELD_OUT = 17000, 2000
"""Where the data is not at hand: about what Synthetic-Persona-Chat has with a tokenizer of its own."""


@dataclass(frozen=True)
class Workload:
    """Token ids as a run would see them, sorted by length: `dialogues` (whole rows), `prompts` (of PPO), `pairs` (prompt,
    chosen, rejected); `sides` and `held_out` sides of dialogues to train and to evaluate on; `source`: where from, in words."""

    dialogues: tuple[EncodedDialogue, ...]
    prompts: tuple[list[int], ...]
    pairs: tuple[tuple[list[int], list[int], list[int]], ...]
    sides: int
    held_out: int
    source: str


def workload(config: Config, processor: DataProcessor | None) -> Workload:
    """The lengths of the configuration's data.

    Raises:
        DataError: the data is there but cannot be used.
        ConfigError: likewise.
    """
    if processor is None:
        return assumed(config, "the tokenizer is not on this machine")
    try:
        data = DatasetLoader(config.data).load()
    except (ConfigError, DataError):
        if not re.fullmatch(r"[\w-]+/[\w.-]+", config.data.path) or Path(config.data.path).exists():
            raise
        return assumed(config, f"{config.data.path} is not on this machine")
    return from_data(config, processor, data)


def from_data(config: Config, processor: DataProcessor, data: Dataset) -> Workload:
    """Lengths of a sample of the data."""
    some = random.Random(config.seed).sample(data.train, min(SAMPLE, len(data.train)))
    kept = [side for side in some if processor.fits_example(side)]
    if not kept:
        raise DataError(
            f"no side of {config.data.path} fits into model.max_length ({config.model.max_length} tokens): raise it"
        )
    generator = PreferenceGenerator(kept, config.pairs, config.seed)
    reserve, limit = config.training.ppo.max_new_tokens, processor.max_length // 2
    pairs = []
    for pair in generator.generate_pairs(SAMPLE // 2):
        chosen, rejected = (processor.encode_reply(reply)[-limit:] for reply in (pair.chosen, pair.rejected))
        pairs.append((processor.encode_prompt(pair.prompt, max(len(chosen), len(rejected))), chosen, rejected))
    return Workload(
        dialogues=_by_length([row for side in kept for row in processor.encode_example(side)]),
        prompts=tuple(
            sorted((processor.encode_prompt(p, reserve) for p in generator.extract_prompts(SAMPLE)), key=len)
        ),
        pairs=tuple(sorted(pairs, key=lambda pair: sum(map(len, pair)))),
        sides=len(data.train),
        held_out=len(data.validation),
        source=f"lengths of {len(kept)} of the {len(data.train)} sides in {config.data.path}",
    )


def _by_length(rows: Sequence[EncodedDialogue]) -> tuple[EncodedDialogue, ...]:
    return tuple(sorted(rows, key=lambda row: len(row.ids)))


def assumed(config: Config, why: str) -> Workload:
    """Dialogues of 12 turns of 16 tokens after a persona of 60, cut to the context. Every prompt and every pair is from the end
    of one, which is the most a prompt can have."""
    length, new = config.model.max_length, min(2 * TURN_TOKENS, config.model.max_length // 4)
    turns = max(2, min(TURNS, (length - PERSONA_TOKENS) // TURN_TOKENS // 2 * 2))
    starts = [PERSONA_TOKENS + TURN_TOKENS * k for k in range(1, turns, 2)]
    spans = [(start, min(start + TURN_TOKENS, length)) for start in starts if start < length - 1]
    persona = PERSONA_TOKENS if spans else length // 2
    row = EncodedDialogue(
        [0] * min(length, PERSONA_TOKENS + TURN_TOKENS * turns), spans or [(persona, length)], (0, persona)
    )
    prompt = [0] * max(
        1, min(PERSONA_TOKENS + TURN_TOKENS * (turns - 1), length - max(new, config.training.ppo.max_new_tokens))
    )
    pair = (prompt, [0] * (new // 2), [0] * (new // 2))
    text = f"{why}: assumed are {SIDES} sides of dialogues of {len(row.ids)} tokens, prompts of {len(prompt)}"
    return Workload((row,), (prompt,), (pair,), SIDES, HELD_OUT, text)


def spread(items: Sequence, count: int) -> list:
    """So many of the sorted items, at even steps from the first to the last; the longest is always among them."""
    last = len(items) - 1
    return [items[round(last * (k + 1) / count)] for k in range(count)]
