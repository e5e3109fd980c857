"""A run that is refused (a damaged file, a setting that the model cannot have) leaves no folder behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selfsame.errors import RunError, SelfsameError, TimeUp
from selfsame.run.directory import RunDirectory


@contextmanager
def leaving_nothing_if_refused(path: Path, enabled: bool = True) -> Iterator[None]:
    """Within this block a run is begun in `path`. Where it ends in a `SelfsameError` before anything was made, the folder is
    removed, with those above it that are new and empty; one that was there before stays, and one that another process works in.

    Args:
        path: folder of the run.
        enabled: for one process of several.
    """
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    except TimeUp:  # it goes on
        raise
    except SelfsameError:
        if enabled and path in new:
            _remove(RunDirectory(path), new)
        raise


def _remove(run: RunDirectory, new: list[Path]) -> None:
    metrics = run.metrics_path
    if run.has_results() or (metrics.exists() and metrics.stat().st_size):
        return
    with suppress(RunError), run.lock():
        shutil.rmtree(run.path, ignore_errors=True)
    for folder in new:
        with suppress(OSError):
            folder.rmdir()
