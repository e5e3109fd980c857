"""Settings of the data room."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfsame.settings import Settings


class DataSettings(Settings):
    """Where the dialogues come from and how they are split."""

    path: str = Field(default="demo", min_length=1)
    """The dialogues: a file (JSONL, CSV, PersonaChat text; also .xz and .gz), a folder with train/valid files, a hub id such
    as google/Synthetic-Persona-Chat, or `demo` for the dialogues in the package."""
    format: Literal["auto", "jsonl", "csv", "personachat"] = "auto"
    """Format of the file; `auto` looks at its name and content."""
    clean: bool = True
    """Leave out the rows that `selfsame data audit` rejects."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many dialogues for training (the first ones); none: all."""
    validation_share: float = Field(default=0.15, gt=0, lt=0.9)
    """Share of the personas held out for validation, if the source has no validation part; of the dialogues, where there are
    too few personas to hold any out."""
    max_turns: int = Field(default=40, ge=2)
    """Longer dialogues are cut after this many turns."""


class PairSettings(Settings):
    """Preference pairs made from dialogues."""

    count: int = Field(default=600, ge=10)
    """Number of preference pairs to train the reward model (and DPO) on."""
    validation_count: int = Field(default=200, ge=10)
    """Number of preference pairs from held-out personas, to measure ranking accuracy."""
    length_ratio: float = Field(default=1.5, ge=1)
    """Largest ratio of the lengths of the chosen and the rejected reply; on average they are equally long."""
