"""How much of a persona fits into the context of a model."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from selfsame.data.processor import DataProcessor
from selfsame.types import Persona, Prompt

_LETTERS = 64
"""No token stands for as many letters on average."""


def fit_persona(processor: DataProcessor, persona: Persona) -> tuple[Persona, Persona]:
    """(traits that leave half of the context for the dialogue, traits left out): the first ones stay, in their order."""
    room, bound = processor.max_length // 2, 1

    def too_long(size: int) -> bool:
        letters = sum(map(len, persona[:size]))
        return letters > _LETTERS * processor.max_length or not processor.fits(Prompt(persona[:size]), room)

    while bound < len(persona) and not too_long(bound):  # a megabyte of traits is not read to its end
        bound *= 2
    kept = bisect_left(range(1, min(bound, len(persona)) + 1), True, key=too_long)
    return persona[:kept], persona[kept:]


def left_out_line(processor: DataProcessor, left: Sequence[str]) -> str:
    """Which traits were left out, and why; one line, empty where there is none."""
    if not left:
        return ""
    which = f"{left[0]!r}" if len(left) == 1 else f"{len(left)} traits, from {left[0]!r} to {left[-1]!r}"
    return (
        f"left out of the persona, which may take {processor.max_length // 2} of model.max_length"
        f" {processor.max_length} tokens: {which}"
    )
