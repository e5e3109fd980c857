"""What the commands' parsers share: errors of one line, numbers, files that can be written. Imports nothing heavy."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from selfsame.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """argparse with our errors: one line, no usage dump."""

    def error(self, message: str) -> Any:
        raise ConfigError(f"{message}; see {self.prog} --help")


def make_parser(command: str, description: str) -> Parser:
    """The parser of `selfsame COMMAND`."""
    return Parser(prog=f"selfsame {command}", description=description, allow_abbrev=False)


def natural(text: str) -> int:
    """0, 1, 2, ..."""
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is not a number from 0 to 999999999")
    return int(text)


def check_writable(file: str | None) -> None:
    """Told before the work, not after it."""
    if not file:
        return
    path = Path(file)
    if path.exists() and not path.is_file():  # a device would be replaced by a file
        raise ConfigError(f"{path} is not a file (but a folder or a device): give a file name")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"cannot write into the folder {path.parent}")
