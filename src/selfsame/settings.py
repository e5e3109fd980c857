"""The base class of all settings.

Settings live in the room that they configure (`<room>/settings.py`, which imports nothing heavy) and are composed in
`config.py`; see docs/decisions/0001-settings-beside-the-code.md.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Settings(BaseModel):
    """Frozen, and closed: an unknown key is an error. Numbers are finite and below 2^31."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_lookalikes(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes YAML's `yes` for the number 1, and a text that no file can be named."""
        if isinstance(value, bool) and info.field_name and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("Input should not be true or false")
        if isinstance(value, str) and "\0" in value:
            raise ValueError("Input should not hold a null character")
        return value

    @field_validator("*")
    @classmethod
    def _refuse_huge_integers(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) >= 2**31:
            raise ValueError("Input should be less than 2147483648")
        return value
