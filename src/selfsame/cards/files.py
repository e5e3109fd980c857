"""The files that hold a card: JSON, YAML, a picture (PNG) with the card in a text chunk, CHARX (a zip) -> one mapping.

A card comes from anywhere, so every step has a limit: bytes of the file, bytes of what a compressed part becomes.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import lzma
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from selfsame.errors import DataError

MAX_BYTES = 1_000_000
"""Of the card itself; the text of the longest ones has a tenth of it."""
MAX_FILE_BYTES = 64_000_000
"""Of a picture or an archive, which may hold art."""
MAX_DEPTH = 100
"""Levels of lists and objects inside each other."""
CHUNKS = ("ccv3", "chara")
"""Keywords of the text chunks that hold a card, the newer form first; base64 of its JSON."""
FORMS = "give a character card: JSON, YAML, a PNG picture with the card in it, or CHARX"


def read_mapping(path: Path) -> Mapping[str, Any]:
    """The card in a file, as it was written.

    Raises:
        DataError: with one line that says what the file is and what a card is.
    """
    raw = _read_bytes(path)
    if raw.startswith(b"\x89PNG"):
        return _of_text(_of_picture(raw, path), path, "the card in the picture")
    if zipfile.is_zipfile(io.BytesIO(raw)):
        return _of_text(_of_archive(raw, path), path, "card.json in the archive")
    if raw.startswith((b"\xff\xd8\xff", b"RIFF", b"GIF8")):
        raise DataError(
            f"{path}: is a picture without a card (JPEG, WebP and GIF lose it): get the PNG, or export the card as JSON"
        )
    return _of_text(raw, path, "the file")


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {FORMS}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {FORMS}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise DataError(f"{path}: is larger than {MAX_FILE_BYTES // 1_000_000} MB; {FORMS}")
    return raw


def _of_picture(raw: bytes, path: Path) -> bytes:
    """The JSON in a picture's text chunks (tEXt, zTXt or iTXt, before or behind the image)."""
    from PIL import Image, PngImagePlugin  # imported here: a JSON card needs no picture library

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # opening a large picture warns already
            with Image.open(io.BytesIO(raw), formats=["PNG"]) as picture:
                texts = _texts(picture.info)
                if not texts.keys() & {*CHUNKS}:
                    assert isinstance(picture, PngImagePlugin.PngImageFile)
                    texts = _texts(picture.text)  # reads to the end of the file, where some programs put the card
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        # a chunk that unpacks to more than Pillow's limit (1 MB, 64 MB together) is a ValueError too
        raise DataError(
            f"{path}: the picture is damaged or too large ({error}); download it again, or export the card as JSON"
        ) from None
    keyword = next((name for name in CHUNKS if name in texts), None)
    if keyword is None:
        found = f"its text chunks are {', '.join(sorted(texts)[:5])}" if texts else "it has no text chunk"
        raise DataError(
            f"{path}: is a picture without a card ({found}; a card is in {' or '.join(CHUNKS)}):"
            " upload sites and screenshots lose it, get the original or export the card as JSON"
        )
    text = texts[keyword].strip()
    if text.startswith("{"):
        return text.encode("utf-8", "replace")  # some programs write the JSON as it is
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DataError(
            f"{path}: the card in the picture is damaged (its chunk {keyword!r} is not base64); export it as JSON"
        ) from None


def _texts(info: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name).lower(): str(text) for name, text in info.items() if isinstance(text, str)}


def _of_archive(raw: bytes, path: Path) -> bytes:
    """`card.json` of a CHARX file. Nothing is unpacked to disk."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = archive.namelist()
            if "card.json" in names:
                with archive.open("card.json") as file:
                    return file.read(MAX_BYTES + 1)  # the size that the archive claims may be a lie
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, OSError, ValueError
    ) as error:  # fmt: skip
        raise DataError(f"{path}: the archive cannot be read ({error}); export the card as JSON") from None
    listed = ", ".join(names[:5]) or "nothing"
    raise DataError(f"{path}: is a zip archive without card.json (it holds {listed}); {FORMS}")


def _of_text(raw: bytes, path: Path, what: str) -> Mapping[str, Any]:
    if len(raw) > MAX_BYTES:
        raise DataError(
            f"{path}: {what} is larger than {MAX_BYTES // 1_000_000} MB; a character card is a small text, export it anew"
        )
    try:
        text = raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {what} is not UTF-8 text ({error.reason} at byte {error.start}); {FORMS}") from None
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        if path.suffix.lower() in (".yaml", ".yml"):
            return _object(_yaml(text, path), path, what)
        raise DataError(f"{path}: {what} is not JSON ({error}); {FORMS}") from None
    return _object(card, path, what)


class _NoAliases(yaml.SafeLoader):
    """YAML without references: a few lines of them stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds references (*name), which a card does not need")
        return super().compose_node(parent, index)


def _yaml(text: str, path: Path) -> Any:
    try:
        return yaml.load(text, _NoAliases)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:
        # KeyError and AttributeError: `!!bool maybe`, `!!timestamp soon`
        raise DataError(f"{path}: is not YAML ({' '.join(str(error).split())[:160]}); {FORMS}") from None


def _object(card: Any, path: Path, what: str) -> Mapping[str, Any]:
    if isinstance(card, list) and len(card) == 1:
        card = card[0]
    if not isinstance(card, dict):
        kind = {list: "a list", str: "one text", type(None): "empty"}.get(type(card), "one value")
        raise DataError(f"{path}: {what} is {kind}, not a character card; expected an object with name and description")
    level = [card]
    for _ in range(MAX_DEPTH):
        level = [
            inner for part in level for inner in (part.values() if isinstance(part, dict) else part) if _holds(inner)
        ]
    if level:
        raise DataError(f"{path}: {what} has more than {MAX_DEPTH} levels, which no character card has; {FORMS}")
    return card


def _holds(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple, set))
