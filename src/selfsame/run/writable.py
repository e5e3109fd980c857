"""Files that the user asked for, checked before the work that fills them."""

from __future__ import annotations

import os
from pathlib import Path

from selfsame.errors import ConfigError


def check_writable(file: str | None) -> None:
    """Check that a file can be written, before the work and not after it.

    Raises:
        ConfigError: it is a folder or a device, or its folder is missing or read-only.
    """
    if not file:
        return
    path = Path(file)
    if path.exists() and not path.is_file():  # a device would be replaced by a file
        raise ConfigError(f"{path} is not a file (but a folder or a device): give a file name")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"cannot write into the folder {path.parent}")
