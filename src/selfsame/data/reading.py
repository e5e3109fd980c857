"""A file, or rows in memory -> its dialogues, a reason for everything that gives none, and what was understood."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsame.cards.card import read_card
from selfsame.data.containers import Parts, Row, checked, read_csv, read_json, read_parquet
from selfsame.data.encoding import decode, read_bytes
from selfsame.data.names import role_of
from selfsame.data.persona_fields import NUMBERED
from selfsame.data.settings import DataSettings
from selfsame.data.speakers import Bot, Placed, UnknownBotError, place, without_weak
from selfsame.data.structure import read_records
from selfsame.data.transcripts import read_numbered, read_transcript
from selfsame.errors import ConfigError, DataError
from selfsame.types import Dialogue, RejectedRow

FORMATS = ("jsonl", "csv", "personachat")
_SHOWN = 3
_JSON = re.compile(r'\s*(?:\{\s*["}]|\[\s*["\[{\]])(?<!\{\{)')
"""How JSON begins, and no stamp ([12.03.24, 10:00]) and no name ([Anna], {{user}})."""


@dataclass
class Source:
    """What one file, or one part of it, gave.

    Attributes:
        part: "train" or "validation" where the file says so, else "".
        name: of the file.
        dialogues, rejected: what could and what could not be used.
        notes: what was understood, how it was decoded, what was left out; a line each.
    """

    part: str
    name: str
    dialogues: list[Dialogue]
    rejected: list[RejectedRow]
    notes: list[str] = field(default_factory=list)


def read_file(path: str | Path, settings: DataSettings | None = None) -> list[Source]:
    """The dialogues of one file, by part.

    Raises:
        DataError: the file as a whole cannot be used.
        ConfigError: for another format, or a package that is missing.
    """
    path, settings = Path(path), settings or DataSettings()
    parts, note = _read_parts(path, settings.format)
    bot = known_bot(settings)
    parts = {name: rows for name, rows in parts.items() if rows} or parts
    sources = [
        _read_rows(str(path), rows, part, path.name.split(".")[0], (settings, bot)) for part, rows in parts.items()
    ]
    if note:
        sources[0].notes.insert(0, f"{path.name}: {note}")
    return sources


def from_records(name: str, records: Iterable[Mapping[str, Any]], stem: str, settings: DataSettings) -> Source:
    """The same for rows that are read already; an id is `stem` with the number of the row."""
    return _read_rows(
        name,
        ((k, checked(record)) for k, record in enumerate(records, start=1)),
        "",
        stem,
        (settings, known_bot(settings)),
    )


def known_bot(settings: DataSettings) -> Bot:
    """What the settings say of the bot. Raises `DataError` for a card that cannot be used."""
    if not settings.card:
        return Bot(settings.bot, "", settings.persona)
    card = read_card(settings.card)
    return Bot(settings.bot, card.name, settings.persona or card.persona)


def rows_of_file(path: Path) -> list[Row]:
    """The records of a file of any form, with their lines; the parts of a divided one together."""
    return [row for rows in _read_parts(path, "auto")[0].values() for row in rows]


def _read_parts(path: Path, format: str) -> tuple[Parts, str]:
    """(rows by part, note on the encoding)."""
    raw = read_bytes(path)
    if raw.startswith(b"PAR1"):
        return read_parquet(raw, path), ""
    text, note = decode(raw, path)
    if format == "auto":
        return _by_content(text, path), note
    if format not in FORMATS:
        raise ConfigError(f"format {format!r} is unknown; use auto, {', '.join(FORMATS)}")
    read = {"jsonl": read_json, "csv": read_csv, "personachat": _read_personachat}[format]
    return read(text, path), note


def _read_personachat(text: str, path: Path) -> Parts:
    return {"": list(read_numbered(text.split("\n")))}


def _by_content(text: str, path: Path) -> Parts:
    start = text.lstrip()[:1]
    if not text.strip():
        raise DataError(f"{path}: is empty; expected dialogues (JSONL, JSON, CSV, Parquet, a chat export)")
    if start == "<":
        raise DataError(f"{path}: is HTML or XML; export the chat as JSON or text")
    rows = None if _JSON.match(text) else read_transcript(text)
    if rows is not None:
        return {"": rows}
    return (
        read_json(text, path)
        if start in ("{", "[") or path.suffix.lower() in (".json", ".jsonl")
        else read_csv(text, path)
    )


def _read_rows(source: str, rows: Iterable[Row], part: str, stem: str, known: tuple[DataSettings, Bot]) -> Source:
    settings, bot = known
    placed: list[Placed] = []
    found = Source(part, source, [], [])
    forms: Counter[str] = Counter()
    personas: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    unasked = True
    seen: dict[str, int] = {}
    for line, row in read_records(rows, stem, settings.given_fields()):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            row = row if settings.given_fields().get("persona") else without_weak(row, bot)
            made = place(row, bot)
            if made.dialogue.id in seen:
                raise ValueError(f"the id {made.dialogue.id!r} was used before, on line {seen[made.dialogue.id]}")
        except ValueError as error:
            unasked &= isinstance(error, UnknownBotError)
            unknown.update(error.speakers if isinstance(error, UnknownBotError) else {})
            found.rejected.append(RejectedRow(source, line, str(error)))
            continue
        seen[made.dialogue.id] = line
        placed.append(made)
        forms[row.form] += 1
        personas[
            row.personas.source
            or ("data.persona" if settings.persona else "the card" if settings.card else "the partner's side alone")
        ] += 1
    if not placed:
        raise DataError(_nothing(source, found.rejected, unknown if unasked else Counter(), bot.asked))
    found.dialogues = [one.dialogue for one in placed]
    found.notes = _notes(Path(source).name, placed, forms, personas)
    return found


def _nothing(source: str, rejected: list[RejectedRow], unknown: Counter[str], asked: str) -> str:
    """Why a source gives no dialogue: nobody is known to be the bot, or the reasons of its rows."""
    if unknown:
        speakers = ", ".join(f"{name!r} ({count} turns)" for name, count in unknown.most_common(8))
        likely = max(unknown, key=lambda name: ({"bot": 2, "": 1}.get(role_of(name), 0), unknown[name]))
        question = f"nobody is called {asked!r}." if asked else "who is the bot?"
        return f"{source}: {question} Its speakers are {speakers}; name one: --data.bot {shlex.quote(likely)}"
    lines: dict[str, list[int]] = {}
    for row in rejected:
        lines.setdefault(row.reason, []).append(row.line)
    shown = [
        f"line {at[0]}{f' and {len(at) - 1} more' if at[1:] else ''}: {reason}"
        for reason, at in [*lines.items()][:_SHOWN]
    ]
    return f"{source}: no usable dialogue in {len(rejected)} rows ({'; '.join(shown) or 'there are no rows'})"


def _notes(name: str, placed: list[Placed], forms: Counter[str], personas: Counter[str]) -> list[str]:
    """What was understood, and which turns were left out."""
    bots = Counter(one.bot for one in placed)
    named = {"second": "the second of two who alternate", "first": "the first of two who alternate"}
    shown = ", ".join(named.get(bot, repr(bot)) for bot, _ in bots.most_common(_SHOWN))
    more = f" and {len(bots) - _SHOWN} more" if len(bots) > _SHOWN else ""
    what = ", ".join(f"{form}: {count} dialogues" for form, count in forms.most_common())
    numbered = set(personas) <= {NUMBERED}
    whose = f"persona from {NUMBERED}" if numbered else f"bot = {shown}{more}; persona from {', '.join(personas)}"
    notes = [f"{name}: {what}; {whose}"]
    left_out: Counter[str] = Counter()
    for one in placed:
        left_out.update(one.left_out)
    if kinds := ", ".join(f"{count} {kind}" for kind, count in left_out.most_common()):
        notes.append(f"{name}: turns left out: {kinds}")
    return notes
