"""Output of commands besides their text: a file with the result, and the rejected rows."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHOWN = 20
"""Rejected rows that are listed one by one."""


def write_result(file: str | None, result: Mapping[str, Any]) -> None:
    """Write the result of a command to the file of `--json`, if there is one.

    It comes before the text: whoever reads the text may close the pipe.
    """
    if file:
        from selfsame.run.files import write_json

        write_json(Path(file), result)


def report_rejected(rejected: Sequence[Any]) -> list[str]:
    """Print the rejected rows on stderr and return them as `file:line: reason`."""
    lines = [str(row) for row in rejected]
    if lines:
        print("\n".join([f"{len(lines)} rows rejected:", *first_lines(lines)]), file=sys.stderr)
    return lines


def first_lines(lines: Sequence[str]) -> list[str]:
    """Keep the first lines and say how many more there are."""
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [*lines[:SHOWN], *more]
