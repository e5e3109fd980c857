"""Bytes -> text: unpacked (.xz, .gz) and decoded as UTF-8, UTF-16 or, where the bytes allow nothing else, cp1252."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import re
import zlib
from pathlib import Path

from selfsame.errors import DataError

_OPEN = {".xz": lzma.open, ".gz": gzip.open}
LARGEST = 2 << 30
"""Bytes of a file when unpacked: more is no file of dialogues."""
_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_MAGIC = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV UTF-8",
    b"\x89PNG": "a picture; give the dialogues as JSONL, JSON or CSV (a character card goes to data.card)",
    b"%PDF": "a PDF; give the dialogues as JSONL, JSON or CSV",
    b"SQLite format 3": "a database; labels go to pairs.path, of any other database export the table as CSV",
}
_STRANGE = re.compile(r"(?<=[A-Za-z])[\xa1-\xa9\xab-\xb3\xb5\xb6\xb8\xb9\xbb-\xbf](?=[A-Za-z])")
"""A sign such as ¹ or ¿ within a word: a letter of another code page (Polish, say)."""


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked; every way in which that fails is a `DataError` of one line."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file or folder; give a file, a folder, owner/name on the hub, or demo"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    unpack = _OPEN.get(path.suffix.lower())
    try:
        if unpack and raw:
            with unpack(io.BytesIO(raw)) as file:
                raw = file.read(LARGEST + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked, damaged or cut short ({error}); fetch the file again") from None
    if len(raw) > LARGEST and unpack:
        raise DataError(f"{path}: is larger than {LARGEST >> 20} MB when unpacked; unpack it and divide it")
    if not raw.strip():
        raise DataError(f"{path}: is empty; expected dialogues (JSONL, JSON, CSV, Parquet, a chat export)")
    return raw


def decode(raw: bytes, path: Path) -> tuple[str, str]:
    """(text, note) of a file's bytes. The note names an encoding other than UTF-8; "" for UTF-8.

    Raises:
        DataError: the bytes are no text, or no encoding can be told from them.
    """
    encoding = _BOMS.get(raw[:2]) or _utf16_without_mark(raw)
    if encoding:
        try:
            return raw.decode(encoding).removeprefix("\ufeff"), "read as UTF-16"
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is damaged UTF-16 at byte offset {error.start}; save it as UTF-8") from None
    what = next((words for magic, words in _MAGIC.items() if raw.startswith(magic)), "")
    if what or b"\0" in raw:
        raise DataError(f"{path}: is {what or 'binary, expected text; save it as UTF-8 JSONL or CSV'}")
    try:
        return raw.decode("utf-8").removeprefix("\ufeff"), ""
    except UnicodeDecodeError as error:
        offset = error.start
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    if not text or not _is_western(text):
        raise DataError(f"{path}: is not UTF-8 at byte offset {offset} and not cp1252; save the file as UTF-8")
    return text, f"read as cp1252, as it is not UTF-8 at byte offset {offset}; save it as UTF-8 if letters look wrong"


def read_text(path: Path) -> str:
    """The text of a file, unpacked and decoded; every way in which that fails is a `DataError` of one line."""
    return decode(read_bytes(path), path)[0]


def _utf16_without_mark(raw: bytes) -> str:
    """UTF-16 whose first letters are mostly Western: every other byte is zero."""
    sample = raw[: min(len(raw), 400) // 2 * 2]
    half = len(sample) // 2
    if half < 4:
        return ""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.7 * half and even == 0:
        return "utf-16-le"
    return "utf-16-be" if even > 0.7 * half and odd == 0 else ""


def _is_western(text: str) -> bool:
    """Whether text decoded as cp1252 looks like it: letters with accents are rare and stand alone within words.

    A Cyrillic, Greek or Chinese code page shows as long runs of them.
    """
    high = sum(character > "\x7f" for character in text)
    runs = sum(len(found) for found in re.findall(r"[\xc0-\xff]{4,}", text))
    return runs <= 0.1 * high and not _STRANGE.search(text)
