"""Text -> records with their lines: JSONL, one JSON list, one JSON object, CSV, Parquet."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selfsame.errors import ConfigError, DataError

Row = tuple[int, Any]
"""The line a record starts on, and the record: a mapping, a list, or the text of the reason why there is none."""
Parts = dict[str, list[Row]]
"""Rows under "train" and "validation", as the file itself divides them; all under "" where it does not."""

_PART_NAMES = {"train": "train", "training": "train"}
_PART_NAMES |= dict.fromkeys(("valid", "validation", "val", "dev", "eval"), "validation")
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"\s*")


def checked(value: Any) -> Any:
    """The value as a record, or the reason why it is none."""
    return value if isinstance(value, (Mapping, list)) else f"is not a JSON object: {value!r:.60}"


def json_object(row: str) -> dict[str, Any]:
    """The object in a line of JSON; ValueError says what else is there."""
    try:
        record = json.loads(row)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError(f"is not a JSON object: {row:.60}")
    return record


def read_json(text: str, path: Path) -> Parts:
    """The records of a JSON document, of lines of JSON, or of documents one after the other.

    Raises:
        DataError: the document breaks off before its first record.
    """
    start = _SPACE.match(text).end()  # pyright: ignore[reportOptionalMemberAccess]
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        return {"": _broken_document(text, start, path, error)}
    if not text[end:].strip():
        return _parts_of(value) or {
            "": list(_list_items(text, start)) if isinstance(value, list) else [(1, checked(value))]
        }
    if "\n" in text[start:end]:
        return {"": list(_stream(text))}
    return {"": list(_json_lines(text))}


def _broken_document(text: str, start: int, path: Path, error: Exception) -> list[Row]:
    """What can be saved of a document that breaks: the items of a list before that, or the lines that are whole."""
    if text[start] == "[" and (items := list(_list_items(text, start))) and isinstance(items[0][1], (dict, list)):
        return items
    lines = list(_json_lines(text))
    if any(isinstance(record, (dict, list)) for _, record in lines):
        return lines
    raise DataError(f"{path}: is not JSON: {error}; the file is damaged or cut short, write it again")


def _list_items(text: str, start: int) -> Iterator[Row]:
    """The items of the list that begins at `start`; one that is broken is the last."""
    position, line, counted = start + 1, 1, 0
    while True:
        position = _SPACE.match(text, position).end()  # pyright: ignore[reportOptionalMemberAccess]
        if text[position : position + 1] in ("]", ""):
            return
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield line, f"is not JSON, so that the rest of the list is not read: {error}"
            return
        yield line, checked(value)
        position = _SPACE.match(text, position).end()  # pyright: ignore[reportOptionalMemberAccess]
        if text[position : position + 1] not in (",", "]"):
            yield line, "is followed by no comma, so that the rest of the list is not read"
            return
        position += text[position] == ","


def _stream(text: str) -> Iterator[Row]:
    """Documents of several lines, one after the other."""
    position, line, counted = 0, 1, 0
    while text[position:].strip():
        position = _SPACE.match(text, position).end()  # pyright: ignore[reportOptionalMemberAccess]
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield line, f"is not JSON, so that the rest of the file is not read: {error}"
            return
        yield line, checked(value)


def _json_lines(text: str) -> Iterator[Row]:
    # Not splitlines(): U+2028 and the like may stand inside a JSON text.
    for line, row in enumerate(text.split("\n"), start=1):
        if row.strip():
            try:
                value = json.loads(row)
            except (ValueError, RecursionError) as error:
                yield line, f"is not JSON: {error}"
                continue
            yield line, checked(value)


def _parts_of(value: Any) -> Parts | None:
    """The parts of an object such as {"train": [...], "valid": [...]}; None for any other."""
    named = {name: _PART_NAMES.get(str(name).lower()) for name in value} if isinstance(value, Mapping) else {}
    parts: Parts = {}
    for name, part in named.items():
        if part and isinstance(value[name], list):
            parts.setdefault(part, []).extend((k, checked(item)) for k, item in enumerate(value[name], start=1))
    return parts if "train" in parts else None


def read_csv(text: str, path: Path) -> Parts:
    """The rows of a table with a header: commas, semicolons, tabs or bars, also named in a first line `sep=;`.

    Raises:
        DataError: the table has one column only.
    """
    csv.field_size_limit(2**31 - 1)  # a conversation may be longer than the 128 kB that csv allows
    declared = re.match(r'"?sep=(.)"?\r?\n', text, re.IGNORECASE)
    body = text[declared.end() :] if declared else text
    head = re.sub(r'"[^"]*"', "", body.split("\n", 1)[0])
    delimiter = declared[1] if declared else max(",;\t|", key=head.count)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise DataError(f"{path}: is neither JSON nor a chat export nor CSV ({error} on line 1)") from None
    if len(header) < 2:
        raise DataError(
            f"{path}: is in no known form; its first line is {header[0]!r:.80}. Known are JSONL, JSON, CSV with a header,"
            " Parquet, WhatsApp and Telegram exports, PersonaChat and ParlAI text, and lines `Name: text`"
        )
    return {"": list(_table_rows(reader, header, first=1 if declared else 0))}


def _table_rows(reader: Any, header: list[str], first: int) -> Iterator[Row]:
    while True:
        line = reader.line_num + first + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"is not CSV: {error}"
            continue
        if cells and len(cells) != len(header):
            yield line, f"has {len(cells)} cells, the header has {len(header)}"
        elif cells:
            yield line, dict(zip(header, map(_cell, cells), strict=True))


def _cell(text: str) -> Any:
    """The list or object that is written in a cell, as JSON or as Python shows it; else the text."""
    if text[:1] in ("[", "{") and text.rstrip()[-1:] in ("]", "}"):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    return text


def read_parquet(raw: bytes, path: Path) -> Parts:
    """The rows of a Parquet file; the line is the row's number.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: the file is damaged.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(f"{path}: is Parquet, which needs pyarrow; pip install 'selfsame-chat[hub]'") from None
    try:
        rows = pyarrow.parquet.read_table(pyarrow.BufferReader(raw)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: is damaged Parquet ({str(error).splitlines()[0]}); fetch the file again") from None
    return {"": list(enumerate(rows, start=1))}
