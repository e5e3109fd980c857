"""The folder that an export fills: all of it or nothing, and never over something that is not ours."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from selfsame.errors import ConfigError, RunError

RECORD = "selfsame.json"
"""What an export writes about itself; a folder with it may be overwritten."""


def check_free(out: Path, overwrite: bool) -> None:
    """Checks that a folder can be made, before the work and not after it.

    Raises:
        ConfigError: it is a file, holds something else, or its place is read-only.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file: an export needs a folder, choose another OUT")
    if out.is_dir() and any(out.iterdir()):
        if not (out / RECORD).is_file():
            raise ConfigError(f"{out} is not empty and holds no export: choose another OUT")
        if not overwrite:
            raise ConfigError(f"{out} holds an export: add --overwrite to replace it, or choose another OUT")
    above = next(parent for parent in out.resolve().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigError(f"cannot write into {above}: choose another OUT")


@contextmanager
def whole_folder(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill, which becomes `out` at the end. An error, or a crash, leaves what was there before.

    Raises:
        ConfigError: see `check_free`.
        RunError: the disk is full, or cannot be written.
    """
    check_free(out, overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
            made, old = Path(folder) / "made", Path(folder) / "old"
            made.mkdir()
            yield made
            for file in made.rglob("*.safetensors"):
                file.chmod(0o644)  # safetensors writes files that only their owner can read
            if out.exists():
                os.replace(out, old)
            try:
                os.replace(made, out)
            except OSError:
                if old.exists():
                    os.replace(old, out)
                raise
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk in a class of its own
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        reason = "the disk is full" if full else getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise RunError(f"cannot write {out} ({reason}): free some space, or choose another OUT") from error
