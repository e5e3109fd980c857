"""What the commands' parsers share: errors of one line, numbers, options of several commands. Imports nothing heavy."""

from __future__ import annotations

import argparse
from typing import Any

from selfsame.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """argparse with our errors: one line, no usage dump."""

    def error(self, message: str) -> Any:
        raise ConfigError(f"{message}; see {self.prog} --help")


def make_parser(command: str, description: str) -> Parser:
    """Make the parser of `selfsame COMMAND`."""
    return Parser(prog=f"selfsame {command}", description=description, allow_abbrev=False)


def natural(text: str) -> int:
    """Read 0, 1, 2, ..."""
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is not a number from 0 to 999999999")
    return int(text)


def check_temperature(value: float | None) -> None:
    """Refuse what is no temperature of sampling.

    Raises:
        ConfigError: it is not from 0 to 10.
    """
    if value is not None and not 0 <= value <= 10:
        raise ConfigError(f"--temperature is {value}: give a number from 0 to 10")


def add_json(parser: argparse.ArgumentParser, what: str = "the result") -> None:
    """Add the option `--json`."""
    parser.add_argument("--json", metavar="OUT", help=f"also write {what} to this file")


def add_system(parser: argparse.ArgumentParser, default: str = "the best finished one") -> None:
    """Add the option `--system`."""
    parser.add_argument("--system", help=f"which system of a run: ppo, dpo, sft or base (default: {default})")


def add_base(parser: argparse.ArgumentParser) -> None:
    """Add the option `--model.base`."""
    parser.add_argument(
        "--model.base", dest="base", metavar="BASE", help="where the base of a run or adapter lies now, if it was moved"
    )
