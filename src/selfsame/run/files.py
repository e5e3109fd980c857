"""Files of a run, read and written so that a crash never leaves half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfsame.errors import RunError
from selfsame.renamed import modern_file

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_SEAL = "sha256_of_the_rest"
_NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says while `path` is written into a RunError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            reason = f"disk full while writing {path}: free some space and run the same command again to resume"
        elif error.errno in _NOT_ALLOWED:
            reason = f"cannot write {path} ({error.strerror}): choose a folder you may write to with --run.directory"
        else:
            reason = (
                f"cannot write {path} ({error.strerror or error}): check the disk or choose another --run.directory"
            )
        raise RunError(reason) from error


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut. Only POSIX systems can open a folder for that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8): a reader, or a crash at any moment, sees the old file or the new one.

    Raises RunError where the disk is full or may not be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(_encode(text))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, obj: Any, sealed: bool = False) -> None:
    """Write `obj` as JSON, atomically; NaN and infinities become null (unknown), arrays and tensors plain numbers.

    sealed: with a hash of itself, so that `read_json` notices any change. For records that a resumed run relies on.
    """
    content = plain(obj)
    if sealed:
        content = {**content, _SEAL: _hash(content)}
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises RunError where the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.pop(_SEAL, None) not in (None, _hash(content)):
            raise ValueError("its hash differs from the one stored")
        return modern_file(path, content)
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: run the stage that writes it") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): delete it and run the stage that writes it again") from error
    except OSError as error:
        raise RunError(f"cannot read {path} ({error.strerror})") from error


def append_jsonl(path: Path, record: Mapping[str, Any]) -> None:
    """Add one record as one line. A half line that a crash left before it stays a line of its own."""
    line = _encode(json.dumps(plain(record), ensure_ascii=False, allow_nan=False) + "\n")
    with writing(path), open(path, "ab+") as file:
        if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            line = b"\n" + line
        file.write(line)


def read_jsonl(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records of `path` (none where there is no such file) and how many damaged lines were left out."""
    if not path.exists():
        return [], 0
    records, damaged = [], 0
    for line in path.read_bytes().split(b"\n"):  # not splitlines: U+2028 in a reply does not end a line
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(modern_file(path, record))
        else:
            damaged += 1
    return records, damaged


def plain(obj: Any) -> Any:
    """`obj` as JSON can hold it."""
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple, set, frozenset)):
        return [plain(value) for value in obj]
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if obj is None or isinstance(obj, (str, int)):
        return obj
    for as_plain in ("model_dump", "tolist"):  # records; numpy and torch, without importing either
        if hasattr(obj, as_plain):
            return plain(getattr(obj, as_plain)())
    return str(obj)


def dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _encode(text: str) -> bytes:
    # A lone surrogate has no UTF-8; backslashreplace writes it as \udcxx, which is its escape in JSON as well.
    return text.encode("utf-8", "backslashreplace")
