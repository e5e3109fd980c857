"""Checkpoints that are there completely or not at all: safetensors and JSON, no pickle.

A checkpoint is written next to the others under a temporary name, every file is synced, `complete.json` with the size and
hash of each comes last, and only then the folder gets its name `step-000050`. So whenever the process, the machine or the
disk gives up, the newest complete checkpoint is still the newest complete checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from selfsame.errors import ConfigError, RunError
from selfsame.run.directory import RunDirectory
from selfsame.run.files import sync_folder, writing

MARKER = "complete.json"
STATE = "state.json"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `CheckpointManager.save` was given. Further files that its writers made lie in `path`."""

    step: int
    path: Path
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


class CheckpointManager:
    """The checkpoints of one stage in `folder`, of which the newest `keep` are kept.

    One process writes at a time (`RunDirectory.lock`); any number may read.
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        if keep < 1:
            raise ConfigError(f"keep must be at least 1 (the newest checkpoint is never deleted), got {keep}")
        self.folder, self.keep = Path(folder), keep

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        writers: Sequence[Callable[[Path], None]] = (),
    ) -> Path:
        """Store step `step` and return its folder.

        tensors: file name without suffix -> named tensors of any shape and type, written as `<name>.safetensors`.
        state: whatever JSON can hold; floats come back bit for bit, NaN included.
        writers: called with the unfinished folder to write more into it (an adapter in PEFT's format).
        Raises RunError where the disk is full or may not be written to; earlier checkpoints are untouched then.
        """
        final = self.folder / f"step-{step:06d}"
        temporary = self.folder / f".tmp-{final.name}-{os.getpid()}"
        with writing(final):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove(".tmp-*")  # what a killed process left takes the room that this save needs
            try:
                temporary.mkdir()
                _write_content(temporary, step, tensors, state, writers)
                self._publish(temporary, final)
            except Exception as error:  # safetensors and tokenizers have errors of their own for a full disk
                if isinstance(error, SafetensorError) or _errno_in(error):
                    raise OSError(_errno_in(error), str(error)) from error
                raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        self._prune()
        return final

    def tidy(self) -> None:
        """Removes what a killed process left: unfinished checkpoints, and old ones that were being replaced or deleted. For who
        holds the lock of the run."""
        self._remove(".tmp-*")
        self._remove(".old-*")
        for path in self.folder.glob(".replaced-*"):
            if path not in self.complete():  # there may be no other of its step
                shutil.rmtree(path, ignore_errors=True)

    def complete(self) -> list[Path]:
        """Every complete checkpoint, oldest first."""
        found = {_step_of(path): path for path in self.folder.glob("step-*") if is_complete(path)}
        for path in self.folder.glob(".replaced-step-*"):  # killed between the two renames of _publish: still whole
            if is_complete(path):
                found.setdefault(_step_of(path), path)
        return [found[step] for step in sorted(found)]

    def latest(self) -> Path | None:
        """The newest complete checkpoint; incomplete ones (no marker, a file missing or cut) are passed over."""
        found = self.complete()
        return found[-1] if found else None

    def load(self, path: Path | None = None) -> Checkpoint:
        """Read `path`, or the newest complete checkpoint, and check every file against its hash.

        Tensors are on the CPU. Raises RunError where there is none or a file is damaged.
        """
        path = path or self.latest()
        if path is None:
            raise RunError(f"no complete checkpoint in {self.folder}: run the stage from its beginning")
        if not is_complete(path):
            raise RunError(
                f"{path} is not a complete checkpoint: delete it, and the run resumes from the one before it"
            )
        marker = _read_marker(path)
        for name, entry in marker["files"].items():
            if _digest(path / name) != entry["sha256"]:
                raise RunError(
                    f"{path / name} is damaged (its hash differs from the one stored): "
                    f"delete the folder {path}, and the run resumes from the checkpoint before it"
                )
        tensors = {name: safetensors.torch.load_file(path / f"{name}.safetensors") for name in marker["tensors"]}
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        return Checkpoint(marker["step"], path, tensors, state)

    def _publish(self, temporary: Path, final: Path) -> None:
        """Give the finished folder its name. A complete one of that name makes room only at the last moment."""
        replaced = self.folder / f".replaced-{final.name}"
        if final.exists() and is_complete(final):
            shutil.rmtree(replaced, ignore_errors=True)
            os.replace(final, replaced)
        elif final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
        sync_folder(self.folder)

    def _prune(self) -> None:
        kept = {path.name for path in self.complete()[-self.keep :]}
        for path in self.folder.glob("step-*"):
            if path.name not in kept:
                with suppress(OSError):  # renamed first: half a checkpoint is never seen under its name
                    os.replace(path, self.folder / f".old-{path.name}")
        self._remove(".old-*")
        self._remove(".replaced-*")

    def _remove(self, pattern: str) -> None:
        for path in self.folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def finished(directory: RunDirectory, stage: str) -> Path | None:
    """The last checkpoint of a stage that is done, else None.

    Raises:
        RunError: its files are not those that were written.
    """
    manager = CheckpointManager(directory.checkpoints(stage))
    if manager.latest() is None:
        return None
    checkpoint = manager.load()
    return checkpoint.path if checkpoint.state["done"] else None


def is_complete(path: Path) -> bool:
    """Whether the marker is there, whole, and every file has the size that it says. Reads no tensor."""
    try:
        files = _read_marker(path)["files"]
        return all((path / name).stat().st_size == entry["bytes"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _write_content(
    folder: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    writers: Sequence[Callable[[Path], None]],
) -> None:
    for name, named in tensors.items():
        safetensors.torch.save_file(_apart(named), folder / f"{name}.safetensors")
    (folder / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    for write in writers:
        write(folder)
    files = {str(path.relative_to(folder).as_posix()): _sync_and_describe(path) for path in _files(folder)}
    marker = {"step": step, "tensors": sorted(tensors), "files": files}
    (folder / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
    _sync_and_describe(folder / MARKER)
    for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(inner)


def _apart(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU as safetensors takes them: contiguous, and none in the memory of another. No copy is made that
    is not needed: the state of an optimiser can be twice the model."""
    found: dict[str, Tensor] = {}
    places: set[int] = set()
    for key, tensor in named.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        found[key] = tensor.clone() if place in places else tensor
        places.add(place)
    return found


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sync_and_describe(path: Path) -> dict[str, Any]:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    return {"bytes": path.stat().st_size, "sha256": _digest(path)}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read_marker(path: Path) -> dict[str, Any]:
    """What the marker says. It has no hash of its own: whatever one changed bit could make of it is refused.

    Raises:
        ValueError: it is of another step than the folder, or lacks something.
    """
    marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
    files, tensors = marker["files"], marker["tensors"]
    known = STATE in files and all(f"{name}.safetensors" in files for name in tensors)
    if marker["step"] != _step_of(path) or not known or not all("sha256" in entry for entry in files.values()):
        raise ValueError(f"{path / MARKER} is damaged")
    return marker


def _step_of(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])


def _errno_in(error: Exception) -> int:
    """safetensors and tokenizers report a full disk as text: `I/O error: No space left on device (os error 28)`."""
    found = re.search(r"os error (\d+)", str(error))
    return int(found.group(1)) if found else 0
