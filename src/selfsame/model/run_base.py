"""The base of a run or an adapter: found from any folder, known again after it was moved.

A run records its base's absolute path in `config.yaml`, and in `environment.json` the way to it from the run and a mark of its
weights.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from selfsame.errors import ConfigError
from selfsame.model.base import absolute, locate_model
from selfsame.model.gguf import cache_folder
from selfsame.model.named import NAMED
from selfsame.model.settings import BUNDLED, ModelSettings
from selfsame.run.directory import RunDirectory
from selfsame.run.logger import say

_ENDS = 1 << 20
"""Bytes at either end of a file of weights that its mark is made of: the names of the tensors, and some of their values."""


def mark_of(name: str) -> str | None:
    """A hash that is the same where a base's weights are, wherever its folder lies; None for a model of the hub."""
    folder = Path(locate_model(name))
    files = [path for kind in ("*.safetensors", "*.bin") for path in sorted(folder.glob(kind))]
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        with open(path, "rb") as file:
            digest.update(str(size).encode() + file.read(_ENDS))
            file.seek(max(0, size - _ENDS))
            digest.update(file.read())
    return digest.hexdigest()[:32]


def base_record(name: str, run: RunDirectory) -> dict[str, Any]:
    """What a run records about its base, next to its path: `{mark, from_run}`."""
    is_path = os.path.isabs(name)
    return {"mark": mark_of(name), "from_run": os.path.relpath(name, run.path.resolve()) if is_path else None}


def settle_base(settings: ModelSettings, run: RunDirectory) -> tuple[ModelSettings, tuple[str, ...]]:
    """The settings with the absolute path of their base, and the names of settings that may differ from the run's: the base,
    where it is the run's own in another place.

    Raises:
        ConfigError: a base that is not ready.
    """
    name, free = absolute(settings.base), ()
    if run.config_path.is_file():
        stored = str(run.config().get("model", {}).get("base"))
        if os.path.abspath(name) == stored:  # a relative folder that is gone: named in full from here on
            name = stored
        mark = _recorded(run).get("mark")
        if name != stored and (absolute(stored) == name or (mark is not None and mark == mark_of(name))):
            free = ("model.base",)
    return settings.model_copy(update={"base": name}), free


def model_of_run(run: RunDirectory, settings: ModelSettings, base: str | None = None) -> ModelSettings:
    """The model settings of a run with its base where it lies now; a line says where its weights are others than the run's.

    Args:
        run: that was trained.
        settings: of its model, as it recorded them.
        base: where it lies, if the user says so.

    Raises:
        ConfigError: it is not there.
    """
    recorded = _recorded(run)
    found = found_base(base or settings.base, run.path, recorded.get("from_run") if base is None else None)
    if found is None:
        raise ConfigError(
            f"the base of {run.path} was the folder {settings.base}, which is not there: name its new place by --model.base"
            f" (chat, evaluate, run), or as model.base in {run.config_path}"
            if base is None
            else f"--model.base: there is no folder {base} in {Path.cwd()}"
        )
    if recorded.get("mark") not in (None, mark_of(found)):
        say(f"the base in {found} has other weights than the one that {run.path} was trained on: replies will differ")
    return settings.model_copy(update={"base": found})


def found_base(name: str, near: Path, relative: str | None = None) -> str | None:
    """Where the base `name` lies that was used for something in the folder `near`: as it is named, by the way from there, or,
    where it was named by a relative path, in a folder above. None where it is a path, and nothing is there."""
    folder = Path(name).expanduser()
    if folder.parts[-3:] == ("selfsame", "model", "bundled"):  # of this installation, or another
        return BUNDLED
    if folder.name in NAMED and (folder.parent == cache_folder() or not folder.exists()):  # of this cache, or another
        return folder.name
    if name == BUNDLED or folder.exists():
        return absolute(name)
    above = [] if folder.is_absolute() else [parent / name for parent in near.resolve().parents]
    for path in [near / relative] if relative else above:
        if path.exists():
            return str(path.resolve())
    return None if folder.is_absolute() or name.startswith(".") else name


def _recorded(run: RunDirectory) -> dict[str, Any]:
    found = run.environment().get("base")
    return found if isinstance(found, dict) else {}
