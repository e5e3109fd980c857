"""Settings of the data room."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from selfsame.settings import Settings

FIELD_USES = ("turns", "speaker", "text", "persona", "bot")


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
    fields: tuple[str, ...] = ()
    """Which fields of a record hold what: turns=log speaker=nick text=said persona=about bot=hero; the others are found."""
    clean: bool = True
    """Leave out the rows that `selfsame data audit` rejects."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many dialogues for training (the first ones); none: all."""
    validation_share: float = Field(default=0.15, gt=0, lt=0.9)
    """Share of the personas held out for validation, if the source has no validation part; of the dialogues, where there are
    too few personas to hold any out."""
    max_turns: int = Field(default=40, ge=2)
    """Longer dialogues are cut after this many turns."""

    @field_validator("fields", mode="before")
    @classmethod
    def _single_pairs(cls, value: Any) -> Any:
        """Pairs that stand in one text with commas between them count one by one."""
        texts = [value] if isinstance(value, str) else value or ()
        return tuple(pair.strip() for text in texts for pair in str(text).split(",") if pair.strip())

    @field_validator("fields")
    @classmethod
    def _known_pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [pair for pair in value if not re.fullmatch(rf"(?:{'|'.join(FIELD_USES)})\s*=.+", pair)]
        if wrong:
            uses = ", ".join(f"{use}=FIELD" for use in FIELD_USES)
            raise ValueError(f"{wrong[0]!r} is not one of {uses}")
        return value

    def given_fields(self) -> dict[str, str]:
        """`fields` by what they hold: {"turns": "log"}."""
        return {use.strip(): name.strip() for use, _, name in (pair.partition("=") for pair in self.fields)}


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
