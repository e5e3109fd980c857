"""Settings of the data room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from selfsame.settings import Settings


class DataSettings(Settings):
    """Where the dialogues come from and how they are split."""

    path: str = Field(default="demo", min_length=1)
    """The dialogues: a file (JSONL, JSON, CSV, Parquet, a chat export, PersonaChat text; also .xz and .gz), a folder with
    train/valid files, a hub id such as google/Synthetic-Persona-Chat, or `demo` for the dialogues in the package."""
    format: Literal["auto", "jsonl", "csv", "personachat"] = "auto"
    """Format of the file; `auto` looks at its content."""
    bot: str = ""
    """Whose turns are the bot's: a name as it stands in the file; empty: found from the file."""
    persona: tuple[str, ...] = ()
    """Traits of the bot, for dialogues that bring none."""
    card: str = ""
    """Character card with the traits of the bot, for dialogues that bring none; its name is the bot's where it speaks."""
    fields: dict[Literal["turns", "speaker", "text", "persona", "bot"], str] = Field(default_factory=dict)
    """Which fields of a record hold what, such as turns=log,speaker=nick,text=said,persona=about; the others are found."""
    clean: bool = True
    """Leave out the rows that `selfsame data audit` rejects."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many dialogues for training (the first ones); none: all."""
    validation_share: float = Field(default=0.15, gt=0, lt=0.9)
    """Share of the personas held out for validation, if the source has no validation part."""
    max_turns: int = Field(default=40, ge=2)
    """Longer dialogues are cut after this many turns."""

    @field_validator("fields", mode="before")
    @classmethod
    def _as_pairs(cls, value: Any) -> Any:
        """`turns=log,text=said`, as the command line gives it."""
        if isinstance(value, Mapping):
            return value
        parts = [part.partition("=") for part in str(value or "").split(",") if part.strip()]
        if any(not equals or not name.strip() or not of.strip() for name, equals, of in parts):
            raise ValueError("expected name=field pairs such as turns=log,persona=about")
        return {name.strip(): of.strip() for name, _, of in parts}


class PairSettings(Settings):
    """Preference pairs: your own, and those made from dialogues."""

    path: str = ""
    """Your own pairs: a file with `prompt`, `chosen`, `rejected` (TRL, HH-RLHF), or replies with a label or score; empty: none
    of your own."""
    generated: bool = True
    """Also make pairs from the dialogues."""
    count: int = Field(default=600, ge=10)
    """Number of preference pairs to train the reward model (and DPO) on."""
    validation_count: int = Field(default=200, ge=10)
    """Number of preference pairs from held-out personas, to measure ranking accuracy."""
    length_ratio: float = Field(default=1.5, ge=1)
    """Largest ratio of the lengths of the chosen and the rejected reply; on average they are equally long."""
