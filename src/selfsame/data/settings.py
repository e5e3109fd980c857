"""Settings of the data room."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfsame.settings import Settings


class DataSettings(Settings):
    """Where the dialogues come from and how they are split."""

    path: str = Field(default="demo", min_length=1)
    """A file (JSONL, CSV, PersonaChat text; .xz and .gz too), a folder with train/valid files, a hub id such as
    google/Synthetic-Persona-Chat, or `demo` for the dialogues in the package."""
    format: Literal["auto", "jsonl", "csv", "personachat"] = "auto"
    """How to read `path`; `auto` looks at the name and the content."""
    clean: bool = True
    """Leave out the rows that `selfsame data audit` would remove."""
    limit: int | None = Field(default=None, ge=1)
    """Use only the first so many dialogues of the training part."""
    validation_share: float = Field(default=0.15, gt=0, lt=0.9)
    """Share of the personas held out for validation where the source has no validation part of its own."""
    max_turns: int = Field(default=40, ge=2)
    """Longer dialogues are cut after so many turns."""


class PairSettings(Settings):
    """Preference pairs made from dialogues."""

    count: int = Field(default=600, ge=10)
    """Pairs to make for training the reward model (and DPO)."""
    validation_count: int = Field(default=200, ge=10)
    """Pairs to make from held-out personas, to measure ranking accuracy."""
    length_ratio: float = Field(default=1.5, ge=1)
    """Chosen and rejected differ in length by at most this factor on single pairs, and not at all on average."""
