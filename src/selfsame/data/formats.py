"""One file -> its dialogues, and a reason for every row that gives none.

What is read (also as .xz or .gz), one dialogue a row:

- JSONL, the canonical form: `{"id": "d1", "user1_persona": ["I have two dogs."], "user2_persona": [],
  "turns": [[1, "Two dogs!", [0]], [2, "Lovely."]]}`; the third element (which of the speaker's traits the turn
  uses) and the id are optional.
- JSONL of one's own: `{"persona": ["I have two dogs."], "turns": [{"speaker": "user", "text": "Any pets?"},
  {"speaker": "bot", "text": "Two dogs!"}]}`; the persona is the bot's (speaker 2), `"partner_persona"` the user's.
- CSV with the columns of Synthetic-Persona-Chat: `user 1 personas`, `user 2 personas` (a trait a line) and
  `Best Generated Conversation` (lines `User 1: ...`; a line without a tag belongs to the turn before it).
- CSV of one's own: `persona` (traits on lines or separated by |), `dialogue` (lines `User: ...` and `Bot: ...`) and, if
  known, `partner_persona`.
- PersonaChat / ConvAI2 text: `1 your persona: ...`, `2 partner's persona: ...`, `3 their turn<TAB>my turn<TAB>...`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsame.errors import ConfigError, DataError
from selfsame.types import Dialogue, RejectedRow, Turn, clean_persona

_Row = tuple[int, "Dialogue | str"]
"""The line a row starts on, and its dialogue or the reason why there is none."""
_SPC = ("user 1 personas", "user 2 personas", "best generated conversation")
_TAG = re.compile(r"(?P<mark>[\s*_]*)(?P<who>user ?[12]|user|bot)\s*:[*_]*(?P<text>.*)", re.IGNORECASE)
_SPEAKERS = {"user": 1, "user1": 1, "bot": 2, "user2": 2}
_PERSONACHAT = re.compile(r"\d+ (?:(your|partner's) persona:(.*)|([^\t]*)\t([^\t]*)(?:\t.*)?)\r?")


def read_file(path: str | Path, format: str = "auto") -> tuple[list[Dialogue], list[RejectedRow]]:
    """The dialogues of one file, and every row that could not be used. `format`: auto, jsonl, csv or personachat.

    Raises `DataError` where the file as a whole cannot be used, `ConfigError` for another format.
    """
    path = Path(path)
    text = read_text(path)
    format = _detect(path, text) if format == "auto" else format
    if format not in _FORMATS:
        raise ConfigError(f"format {format!r} is unknown; use auto, {', '.join(_FORMATS)}")
    return _sort_rows(str(path), _FORMATS[format](text, path))


def from_records(
    source: str, records: Iterable[Mapping[str, Any]], stem: str
) -> tuple[list[Dialogue], list[RejectedRow]]:
    """The same for rows that are read already; an id is `stem` with the number of the row."""
    rows = (
        _attempt(number, from_record, {name.lower(): value for name, value in row.items()}, f"{stem}-{number:05d}")
        for number, row in enumerate(records, start=1)
    )
    return _sort_rows(source, rows)


def _sort_rows(source: str, rows: Iterable[_Row]) -> tuple[list[Dialogue], list[RejectedRow]]:
    dialogues: list[Dialogue] = []
    rejected: list[RejectedRow] = []
    seen: dict[str, int] = {}
    for line, row in rows:
        if isinstance(row, Dialogue) and row.id in seen:
            row = f"the id {row.id!r} was used before, on line {seen[row.id]}"
        if isinstance(row, str):
            rejected.append(RejectedRow(source, line, row))
        else:
            seen[row.id] = line
            dialogues.append(row)
    if not dialogues:
        reasons = "; ".join(f"line {row.line}: {row.reason}" for row in rejected[:3])
        raise DataError(f"{source}: no usable dialogue in {len(rejected)} rows ({reasons or 'there are no rows'})")
    return dialogues, rejected


def read_text(path: Path) -> str:
    """The text of a file, unpacked; every way in which that fails is a `DataError` of one line."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file or folder; give a file, a folder, owner/name on the hub, or demo"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    unpack = {".xz": lzma.decompress, ".gz": gzip.decompress}.get(path.suffix.lower())
    try:
        raw = unpack(raw) if unpack and raw else raw
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked, damaged or cut short ({error}); fetch the file again") from None
    if not raw.strip():
        raise DataError(f"{path}: is empty; expected one dialogue a row (JSONL, CSV or PersonaChat text)")
    if b"\0" in raw:
        raise DataError(f"{path}: is binary or UTF-16, expected UTF-8 text; save it as UTF-8 JSONL or CSV")
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 at byte offset {error.start}; save the file as UTF-8") from None


def _detect(path: Path, text: str) -> str:
    """The format by name, or else by the first line."""
    suffix = (path.with_suffix("") if path.suffix.lower() in (".xz", ".gz") else path).suffix.lower()
    named = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv"}.get(suffix)
    first = text.lstrip().split("\n", 1)[0]
    if text.lstrip()[0] == "[" and named != "csv":
        raise DataError(f"{path}: is one JSON list, expected one JSON object a line (JSONL); write each item on a line")
    if named or first.startswith("{"):
        return named or "jsonl"
    return "personachat" if re.match(r"\d+ ", first) else "csv"


def make_dialogue(id: str, personas: Sequence[Any], turns: Iterable[Sequence[Any]]) -> Dialogue:
    """A dialogue from two lists of traits and turns (speaker, text[, traits]); ValueError says what is wrong."""
    for traits in personas:
        if not isinstance(traits, list):
            raise ValueError(f"a persona is a list of texts, got {traits!r:.60}")
    first, second = ([_clean_text(trait, "a trait") for trait in traits] for traits in personas)
    if not any(first + second):
        raise ValueError("neither speaker has a persona")
    made = tuple(_make_turn(number, turn, (first, second)) for number, turn in enumerate(turns, start=1))
    if len(made) < 2:
        raise ValueError(f"has {len(made)} turns, at least 2 are needed")
    return Dialogue(id, (clean_persona(first), clean_persona(second)), made)


def _make_turn(number: int, turn: Sequence[Any], personas: tuple[list[str], list[str]]) -> Turn:
    """A turn whose trait indices count the traits that are not empty."""
    if not isinstance(turn, (list, tuple)) or len(turn) not in (2, 3):
        raise ValueError(f"turn {number} is not [speaker, text] or [speaker, text, traits]: {turn!r:.60}")
    speaker = _SPEAKERS.get(turn[0], turn[0]) if isinstance(turn[0], str) else turn[0]
    if type(speaker) is not int or speaker not in (1, 2):
        raise ValueError(f"turn {number} has the unknown speaker {turn[0]!r:.60}; use 1 or 2 (or user and bot)")
    text = _clean_text(turn[1], f"turn {number}")
    if not text:
        raise ValueError(f"turn {number} has no text")
    if len(turn) == 2 or turn[2] is None:
        return Turn(speaker, text)
    kept = [k for k, trait in enumerate(personas[speaker - 1]) if trait]
    if not isinstance(turn[2], (list, tuple)) or not all(type(k) is int and k in kept for k in turn[2]):
        raise ValueError(f"turn {number} uses traits {turn[2]!r:.60}, allowed are indices from {kept}")
    return Turn(speaker, text, tuple(kept.index(k) for k in turn[2]))


def _clean_text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is not a text: {value!r:.60}")
    if re.search("[\ud800-\udfff]", value):
        raise ValueError(f"{what} holds half a surrogate pair, which is no character")
    return value.strip()


def _attempt(line: int, make: Callable[..., Dialogue], *arguments: Any) -> _Row:
    try:
        return line, make(*arguments)
    except (ValueError, RecursionError) as error:
        return line, str(error)


def _read_jsonl(text: str, path: Path) -> Iterator[_Row]:
    # Not splitlines(): U+2028 and the like may stand inside a JSON text.
    for line, row in enumerate(text.split("\n"), start=1):
        if row.strip():
            yield _attempt(line, _parse_json, row, f"{_stem(path)}-{line:05d}")


def _parse_json(row: str, id: str) -> Dialogue:
    return from_record(json_object(row), id)


def json_object(row: str) -> dict[str, Any]:
    """The object in a line of JSON; ValueError says what else is there."""
    try:
        record = json.loads(row)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError(f"is not a JSON object: {row:.60}")
    return record


def from_record(record: Mapping[str, Any], id: str) -> Dialogue:
    """A dialogue from named fields, any of the JSONL or CSV forms above; ValueError says what is wrong with them."""
    if isinstance(record.get("id"), (str, int)) and str(record["id"]).strip():
        id = str(record["id"]).strip()
    if all(name in record for name in _SPC):
        return make_dialogue(id, [_traits(record[name]) for name in _SPC[:2]], _tagged_turns(record[_SPC[2]]))
    if "dialogue" in record and "persona" in record:
        personas = [_traits(record.get("partner_persona") or ""), _traits(record["persona"])]
        return make_dialogue(id, personas, _tagged_turns(record["dialogue"]))
    names = ("partner_persona", "persona") if "persona" in record else ("user1_persona", "user2_persona")
    missing = [name for name in (*names, "turns") if name not in record and name != "partner_persona"]
    if missing:
        raise ValueError(f"has no {' and no '.join(missing)}")
    if not isinstance(record["turns"], list):
        raise ValueError(f"turns is not a list: {record['turns']!r:.60}")
    turns = [(t.get("speaker"), t.get("text"), t.get("traits")) if isinstance(t, dict) else t for t in record["turns"]]
    return make_dialogue(id, [record.get(names[0]) or [], record[names[1]]], turns)


def _traits(cell: Any) -> list[str]:
    return cell if isinstance(cell, list) else re.split(r"[|\n]", _clean_text(cell, "the persona"))


def _tagged_turns(cell: Any) -> list[list[Any]]:
    """Turns from lines `User 1: ...` or `Bot: ...`, also set in asterisks; rulers ("* * *") are left out."""
    turns: list[list[Any]] = []
    for line in _clean_text(cell, "the conversation").split("\n"):
        if not line.strip(" \t\r*_-="):
            continue
        if match := _TAG.fullmatch(line.strip()):
            text = match["text"].strip(" *_") if match["mark"].strip() else match["text"]
            turns.append([match["who"].lower().replace(" ", ""), text])
        elif turns:
            turns[-1][1] = f"{turns[-1][1].rstrip()}\n{line.strip()}"
        else:
            raise ValueError(f"the conversation does not start with a speaker (User 1: or User:) but with {line:.60}")
    return turns


def _read_csv(text: str, path: Path) -> Iterator[_Row]:
    csv.field_size_limit(2**31 - 1)  # a conversation may be longer than the 128 kB that csv allows
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header = [name.strip().lower() for name in next(reader)]
    if not (set(_SPC) <= set(header) or {"persona", "dialogue"} <= set(header)):
        raise DataError(f"{path}: has the columns {header!r:.200}, expected {', '.join(_SPC)}, or persona and dialogue")
    while True:
        line = reader.line_num + 1
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
            yield _attempt(line, from_record, dict(zip(header, cells, strict=True)), f"{_stem(path)}-{line:05d}")


def _read_personachat(text: str, path: Path) -> Iterator[_Row]:
    blocks: list[list[tuple[int, str]]] = []
    last = 0
    for line, row in enumerate(text.split("\n"), start=1):
        number = re.match(r"\d+", row)
        if not blocks or (number and int(number[0]) <= last):  # numbers start again with each dialogue
            blocks.append([])
        last = int(number[0]) if number else last
        if row.strip():
            blocks[-1].append((line, row))
    for block in filter(None, blocks):
        yield _parse_block(block, f"{_stem(path)}-{block[0][0]:05d}")


def _parse_block(block: list[tuple[int, str]], id: str) -> _Row:
    """One PersonaChat dialogue: the partner is speaker 1. A line that fits no form sets the whole dialogue aside."""
    personas: dict[str, list[str]] = {"partner's": [], "your": []}
    turns: list[tuple[int, str]] = []
    for line, row in block:
        match = _PERSONACHAT.fullmatch(row)
        if not match:
            return line, f"is neither `N your persona: ...` nor `N text<TAB>reply`: {row:.60}"
        if match[1]:
            personas[match[1]].append(match[2])
        else:  # __SILENCE__ stands for a partner who waits
            turns += [turn for turn in ((1, match[3]), (2, match[4])) if turn[1].strip() not in ("", "__SILENCE__")]
    return _attempt(block[0][0], make_dialogue, id, list(personas.values()), turns)


_FORMATS: dict[str, Callable[[str, Path], Iterator[_Row]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "personachat": _read_personachat,
}


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
