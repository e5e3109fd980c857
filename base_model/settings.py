"""Everything that the bundled base depends on beside the data: `recipe.yaml` holds the values it was made with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError, model_validator

from selfsame.config import read_yaml
from selfsame.errors import ConfigError
from selfsame.settings import Settings


class ModelShape(Settings):
    """A Llama with tied embeddings."""

    vocabulary: int = Field(default=6144, ge=300)
    """Tokens of the byte-level BPE vocabulary, markers included."""
    hidden: int = Field(default=320, ge=16)
    """Width."""
    intermediate: int = Field(default=832, ge=16)
    """Width inside the gated feed-forward layers."""
    layers: int = Field(default=6, ge=1)
    """Blocks."""
    heads: int = Field(default=5, ge=1)
    """Attention heads."""
    context: int = Field(default=1024, ge=64)
    """Longest row, tokens."""


Schedule = tuple[tuple[float, float], ...]
"""(part of the training done, value) points, in order; linear between them, constant before the first and after the last."""


def value_at(schedule: Schedule, progress: float) -> float:
    """The value when `progress` (0 to 1) of the training is done."""
    return float(np.interp(progress, *zip(*schedule, strict=True)))


class ViewSettings(Settings):
    """How dialogues become training rows."""

    source_weights: dict[str, Schedule] = Field(default={"demo": ((0, 1),)}, min_length=1)
    """How often a row comes from each source, in proportion."""
    drill_share: Schedule = ((0, 0),)
    """Share of rows that are copying drills instead of dialogues."""
    rename_share: Schedule = ((0, 0),)
    """Share of dialogues with a persona in which words that persona and own turns share become similar words."""
    no_persona_share: float = Field(default=0.07, ge=0, le=1)
    """Share of rows that hide the persona."""
    long_share: float = Field(default=0.05, ge=0, le=1)
    """Share of rows that may be as long as the context."""
    usual_length: int = Field(default=448, ge=32)
    """Longest row otherwise, tokens."""
    partner_weight: float = Field(default=0.4, ge=0)
    """Weight of a token of the partner's turns in the loss (own turns: 1)."""
    persona_weight: float = Field(default=0.1, ge=0)
    """Weight of a token of the persona."""
    drawn_weight: Schedule = ((0, 3),)
    """Weight of a token of an own turn that is a content word of the persona."""


class OptimiserSettings(Settings):
    """Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for embeddings and norms; warm-up, constant, decay."""

    steps: int = Field(default=3000, ge=1)
    """Optimiser steps."""
    rows_per_step: int = Field(default=28, ge=1)
    """Rows a step, all processes together."""
    token_budget: int = Field(default=2560, ge=64)
    """Tokens of a micro-batch, padding included."""
    muon_rate: float = Field(default=0.02, gt=0)
    """Peak learning rate of Muon."""
    adam_rate: float = Field(default=0.003, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Of both, decoupled."""
    warmup: float = Field(default=0.02, ge=0, lt=1)
    """Part of the steps in which the learning rate rises."""
    decay: float = Field(default=0.25, ge=0, lt=1)
    """Part of the steps at the end in which it falls to a hundredth."""


class WatchSettings(Settings):
    """What is measured along the way, on dialogues set aside for that (their personas occur in other dialogues)."""

    share: float = Field(default=0.02, gt=0, lt=0.5)
    """Share of the dialogues with personas set aside."""
    every: int = Field(default=250, ge=1)
    """Steps between two checkpoints, each of which is measured."""
    prompts: int = Field(default=150, ge=1)
    """Prompts that call for the persona."""
    sides: int = Field(default=60, ge=1)
    """Sides of dialogues for bits per byte."""


class Recipe(Settings):
    """The whole recipe."""

    seed: int = Field(default=0, ge=0)
    """Of everything random."""
    shape: ModelShape = ModelShape()
    views: ViewSettings = ViewSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    watch: WatchSettings = WatchSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        views = self.views
        for schedule in (*views.source_weights.values(), views.drill_share, views.rename_share, views.drawn_weight):
            if not schedule or [t for t, _ in schedule] != sorted(t for t, _ in schedule):
                raise ValueError(f"a schedule has points in order of time, got {schedule}")
        if self.views.usual_length > self.shape.context:
            raise ValueError(
                f"views.usual_length {self.views.usual_length} is more than shape.context {self.shape.context}"
            )
        if self.shape.hidden % (2 * self.shape.heads):
            raise ValueError(
                f"shape.hidden {self.shape.hidden} is no multiple of {2 * self.shape.heads} (heads of even size)"
            )
        return self


def load_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file.

    Raises:
        ConfigError: it cannot be read, is empty, or holds a wrong value or an unknown name.
    """
    if not (content := read_yaml(path)):
        raise ConfigError(f"{path} is empty")
    try:
        return Recipe.model_validate(dict(content))
    except ValidationError as error:
        found = error.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, found['loc']))}: {found['msg']}") from None
