"""The command line: a file for each command, or for a few that share their options."""

from selfsame.cli.dispatch import main

__all__ = ["main"]
