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

PART_NAMES = {"train": "train", "training": "train"}
PART_NAMES |= dict.fromkeys(("valid", "validation", "val", "dev", "eval"), "validation")
"""What the parts are called, in files and in the names of files."""
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"\s*")
_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^'"\[\]{}\s]+|\s+|.""", re.DOTALL)


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
        value, position = _decoded(text, position, "list")
        yield line, value
        if position < 0:
            return
        position = _SPACE.match(text, position).end()  # pyright: ignore[reportOptionalMemberAccess]
        if text[position : position + 1] not in (",", "]"):
            yield line, "is followed by no comma, so that the rest of the list is not read"
            return
        position += text[position] == ","


def _decoded(text: str, start: int, of: str) -> tuple[Any, int]:
    """The value that begins at `start` and where it ends; or the reason why there is none, and -1."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        return f"is not JSON, so that the rest of the {of} is not read: {error}", -1
    return checked(value), end


def _stream(text: str) -> Iterator[Row]:
    """Documents of several lines, one after the other."""
    position, line, counted = 0, 1, 0
    while (position := _SPACE.match(text, position).end()) < len(text):  # pyright: ignore[reportOptionalMemberAccess]
        line, counted = line + text.count("\n", counted, position), position
        value, position = _decoded(text, position, "file")
        yield line, value
        if position < 0:
            return


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
    named = {name: PART_NAMES.get(str(name).lower()) for name in value} if isinstance(value, Mapping) else {}
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
    blank = len(body) - len(body.lstrip("\r\n"))
    skipped, body = body[:blank].count("\n") + bool(declared), body[blank:]
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
    return {"": list(_table_rows(reader, header, first=skipped))}


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
            try:
                yield line, dict(zip(header, map(_cell, cells), strict=True))
            except ValueError as error:
                yield line, str(error)


def _cell(text: str) -> Any:
    """The list or object that is written in a cell, as JSON or as Python or NumPy shows it; else the text.

    Raises:
        ValueError: a list of texts or objects that cannot be read.
    """
    if text[:1] in ("[", "{") and text.rstrip()[-1:] in ("]", "}"):
        for read in (json.loads, lambda cell: ast.literal_eval(_with_commas(cell))):
            try:
                return read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
        if re.match(r"""\[\s*(?:['"]|\{\s*['"])""", text):
            raise ValueError(f"has a list that cannot be read: {text:.60}; write it as JSON")
    return text


def _with_commas(cell: str) -> str:
    """A list with commas between its items, where NumPy leaves them out: `['I bake.' 'I sing.']`."""
    parts: list[str] = []
    last = ""
    for found in _TOKEN.finditer(cell):
        token = found[0]
        if token[0] in "'\"[{" and last and last[-1] in "'\"]}":
            parts.append(",")
        parts.append(token)
        last = last if token.isspace() else token
    return "".join(parts)


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
