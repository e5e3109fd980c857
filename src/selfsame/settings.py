"""The base of every settings class. Settings live beside the code they configure (`<room>/settings.py`, which imports
nothing heavy) and are composed in `config.py`; see docs/decisions/0001-settings-beside-the-code.md."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen, and closed: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)
