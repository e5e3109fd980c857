"""GGUF files as bases: dequantised once to a folder for transformers, in the cache, under the hash of the file.

The quantised weights are written out as float32, exactly what they mean, so that the base is the same on every machine.
transformers reads GGUF files but refuses to save what it read, hence the way over the state dict.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from selfsame.errors import ConfigError, RunError
from selfsame.run.logger import say

READY = "ready.json"
_CHUNK = 1 << 20
_OTHER = ("config.json", "config.yaml", "adapter_config.json")
"""What makes a folder a model, a run or an adapter, whatever else lies in it."""
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def cache_folder() -> Path:
    """Where prepared bases are kept: `SELFSAME_CACHE`, or `~/.cache/selfsame`."""
    return Path(os.environ.get("SELFSAME_CACHE") or Path.home() / ".cache" / "selfsame")


def gguf_of(name: str) -> Path | None:
    """The GGUF file that `name` means: itself, or the only one of a folder that holds no model of transformers.

    Raises:
        ConfigError: there is no such file, it is a part of several, or the folder has more than one.
    """
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ConfigError(f"model.base: there is no file {name} in {Path.cwd()}")
        found = [path]
    elif any((path / name).exists() for name in _OTHER):
        return None
    else:
        found = sorted(path.glob("*.gguf"))
    if not found:
        return None
    if _PART.search(found[0].name):
        raise ConfigError(
            f"{found[0]} is one part of several: join them by llama.cpp's `llama-gguf-split --merge`, and give the one file"
        )
    if len(found) > 1:
        raise ConfigError(f"{name} holds {len(found)} GGUF files: give one, such as --model.base {found[0]}")
    return found[0]


def folder_of_gguf(path: Path) -> Path:
    """The folder that a GGUF file is converted to; it is made where it is not in the cache yet.

    Raises:
        ConfigError: the file cannot be read, or is of a family that transformers does not read from GGUF.
        RunError: the folder cannot be written.
    """
    stat = path.stat()
    digest = _hash_of(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    final = cache_folder() / "gguf" / digest[:16]
    if not (final / READY).is_file():
        say(f"converting {path.name} to float32, once, in {final}")
        convert_into(final, lambda folder: path, {"sha256": digest, "file": path.name})
    return final


def convert_into(final: Path, source: Callable[[Path], Path], record: dict[str, str]) -> None:
    """Makes the folder `final` of a GGUF file, all of it or nothing.

    Args:
        final: does not exist, or holds an earlier conversion.
        source: returns the file; it may put it into the folder that it is given.
        record: what is kept with it.

    Raises:
        ConfigError: the file cannot be read, or is of a family that transformers does not read from GGUF.
        RunError: the folder cannot be written.
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=f".{final.name}-") as folder:
            made = Path(folder) / "model"
            _convert(source(Path(folder)), made)
            (made / READY).write_text(json.dumps(record, indent=1), encoding="utf-8")
            if _record_in(final) == json.dumps(record, indent=1):
                return  # another process was faster, and may read it already
            shutil.rmtree(final, ignore_errors=True)
            os.replace(made, final)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk in a class of its own
        if json.dumps(record, indent=1) == _record_in(final):
            return  # another process was faster
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"cannot write {final} ({reason}): free a few gigabytes, or set SELFSAME_CACHE to another folder"
        ) from error


def _record_in(folder: Path) -> str | None:
    with contextlib.suppress(OSError):
        return (folder / READY).read_text(encoding="utf-8")
    return None


@lru_cache(maxsize=8)
def _hash_of(path: str, size: int, changed: int) -> str:
    """The SHA-256 of a file; its size and time of change tell whether it is still the one that was read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _convert(gguf: Path, folder: Path) -> None:
    """Writes the model and tokenizer of a GGUF file as transformers keeps them, weights in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with _without_bars():
            tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            read: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    except MemoryError:
        raise
    except Exception as error:  # its readers raise many kinds
        first = " ".join(str(error).split())[:160] or type(error).__name__
        raise ConfigError(
            f"{gguf.name} cannot be read as a GGUF model by transformers ({first}): give a folder or hub id of the same"
            " model in safetensors"
        ) from error
    values = read.config.to_dict()
    values.pop("quantization_config", None)
    values.pop("_name_or_path", None)
    with torch.device("meta"):
        model = type(read)(type(read.config)(**values))
    model.load_state_dict(read.state_dict(), assign=True)  # without a second copy in memory
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """The reader's progress bars go to stderr whatever transformers is told."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield
