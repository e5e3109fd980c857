"""Every error that a user can cause. The command line prints the message as one line and exits with code 2.

A message says what was wrong with which value, what is allowed, and what to do about it.
"""


class SelfsameError(Exception):
    """An error that the user, the data or the machine caused."""


class ConfigError(SelfsameError, ValueError):
    """A setting, preset, model name or command-line value that cannot be used."""


class DataError(SelfsameError, ValueError):
    """A file, row, persona or prompt that cannot be used."""


class RunError(SelfsameError, RuntimeError):
    """A run that cannot start, continue or resume: checkpoints, disk, a loss that is not finite."""


class TimeUp(RunError):
    """A run that has used up its time. Everything is saved, and the same command resumes it."""

    exit_code = 75
    """What BSD's sysexits.h calls EX_TEMPFAIL."""
