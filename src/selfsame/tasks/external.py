"""Benchmarks as others published them, read from their own files: ConvAI2, PersonaMinEdit and PersonaGym.

ConvAI2 is ParlAI text, the others are JSON. Nothing of them is in this package. A rejected row is reported with its file and
line.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsame.data.encoding import read_text
from selfsame.errors import DataError
from selfsame.text.keywords import sentences
from selfsame.types import Persona, Prompt, RejectedRow, clean_persona

OFFICIAL = {"9ffb860096ebdcdc311649c8248c3b1c": ("validation", "self, original")}
"""MD5 of an official ConvAI2 file with candidates -> (split, version of the persona) as published tables call it."""
SILENCE = "__SILENCE__"
_LINE = re.compile(r"(\d+) (.*)", re.DOTALL)
_PERSONA = re.compile(r"(your|partner's) persona:(.*)", re.DOTALL)


@dataclass(frozen=True)
class CandidateExample:
    """A prompt with the reply that a person gave and the other candidates.

    Attributes:
        line: where it stands in its file.
        dialogue: number of the dialogue.
        distractors: candidates other than the gold reply, each once.
        words: of the gold reply, as ParlAI's word-level perplexity counts them.
    """

    line: int
    dialogue: int
    prompt: Prompt
    gold: str
    distractors: tuple[str, ...]
    words: int


@dataclass(frozen=True)
class ConvAI2File:
    """`official`: (split, version of the persona) where this is a published file, whole; else None."""

    examples: list[CandidateExample]
    rejected: list[RejectedRow]
    md5: str
    official: tuple[str, str] | None


@dataclass(frozen=True)
class MinimalEdit:
    """A reply that does not fit the persona, and people's smallest edits of it that do. `context`: the partner's turn last."""

    persona: Persona
    context: tuple[str, ...]
    original: str
    edits: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """A question about somebody. `person`: as the file describes them; `persona`: the same in sentences."""

    person: str
    persona: Persona
    task: str
    question: str


# --- ConvAI2 ------------------------------------------------------------------------------------------------------------


def read_convai2(path: str | Path, limit: int | None = None, detokenized: bool = False) -> ConvAI2File:
    """ParlAI text: `N your persona: ...`, then `N their turn<TAB>own reply<TAB><TAB>candidate|...|candidate`; the numbers begin
    again with each dialogue. `limit`: the first so many dialogues; `detokenized`: see `detokenize`.

    A line without usable candidates is set aside, its exchange still belongs to what was said before; any other line that fits
    no form is set aside alone.

    Raises:
        DataError: there is no such file, or it holds no example with candidates.
    """
    text = read_text(Path(path))
    md5 = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    clean = detokenize if detokenized else str.strip
    examples: list[CandidateExample] = []
    rejected: list[RejectedRow] = []
    persona: list[str] = []
    history: list[str] = []
    dialogue, last = 0, 0
    for line, row in enumerate(text.split("\n"), start=1):
        row = row.rstrip("\r")
        if not row.strip():
            continue
        match = _LINE.fullmatch(row)
        number = int(match[1][:9]) if match else last
        if match and (number <= last or not dialogue):
            dialogue, persona, history = dialogue + 1, [], []
        last = number
        if limit is not None and dialogue > limit:
            break
        try:
            if not match:
                raise ValueError(f"does not begin with a number and a space: {row:.60}")
            if told := _PERSONA.fullmatch(match[2]):
                persona += [clean(told[2])] if told[1] == "your" else []
                continue
            said, gold, candidates = _fields(match[2])
            prompt = Prompt(clean_persona(persona), (*history, clean(said)))
            history += [clean(said), clean(gold)]
            others = dict.fromkeys(clean(c) for c in _candidates(gold, candidates))
            others.pop(clean(gold), None)
            if not others:
                raise ValueError("no candidate differs from the reply")
            examples.append(
                CandidateExample(line, dialogue, prompt, clean(gold), tuple(others), len(parlai_words(gold)))
            )
        except ValueError as error:
            rejected.append(RejectedRow(str(path), line, str(error)))
    if not examples:
        why = f"; the first line set aside: {rejected[0]}" if rejected else ""
        raise DataError(
            f"{path}: no example with candidates ({len(rejected)} lines set aside{why}); expected ParlAI text, a line:"
            " N their turn<TAB>own reply<TAB><TAB>candidate|candidate|..."
        )
    return ConvAI2File(examples, rejected, md5, OFFICIAL.get(md5) if limit is None and not rejected else None)


def _fields(row: str) -> tuple[str, str, str]:
    fields = row.split("\t")
    if len(fields) < 2 or not fields[1].strip():
        raise ValueError(f"is neither `N your persona: ...` nor `N text<TAB>reply<TAB><TAB>candidates`: {row:.60}")
    said = "" if fields[0].strip() == SILENCE else fields[0]
    return said, fields[1], fields[3] if len(fields) > 3 else ""


def _candidates(gold: str, field: str) -> list[str]:
    candidates = [c for c in field.split("|") if c.strip()]
    if not candidates:
        raise ValueError("has no candidates")
    if gold.strip() not in [c.strip() for c in candidates]:
        raise ValueError(f"the reply is not among its candidates: {gold:.60}")
    return candidates


def parlai_words(text: str) -> list[str]:
    """Words as ConvAI2's word-level perplexity counts them (`split_tokenize` of ParlAI's parlai/core/dict.py): by white space,
    with . , ; : ! ? apart."""
    return re.sub(r"([.,;:!?])", r" \1 ", text).split()


def detokenize(text: str) -> str:
    """PersonaChat's lower-cased, spaced text as people write: "i 'm tired , and you ?" -> "I'm tired, and you?"."""
    text = re.sub(r"\s+([.,;:!?])", r"\1", text.strip())
    text = re.sub(r"\s+(n't|'(?:s|m|d|re|ve|ll))\b", r"\1", text)
    text = re.sub(r"\bi\b(?!\.\w)", "I", text)
    return re.sub(r"(^|[.!?]\s+)([a-z])", lambda m: m[1] + m[2].upper(), text)


# --- PersonaMinEdit and PersonaGym --------------------------------------------------------------------------------------


def read_minimal_edits(path: str | Path) -> tuple[list[MinimalEdit], list[RejectedRow]]:
    """A JSON list of `{"context": [str], "original_response": str, "intervening_persona": [str], "references": [str]}`. A row
    that cannot be used is told as file:row.

    Raises:
        DataError: there is no such file, it is no such list, or no row of it can be used.
    """
    rows = read_json_file(path)
    if not isinstance(rows, list):
        raise DataError(f"{path}: is not a JSON list of rows with context, original_response and references")
    edits: list[MinimalEdit] = []
    rejected: list[RejectedRow] = []
    for number, row in enumerate(rows, start=1):
        try:
            edits.append(_minimal_edit(row))
        except ValueError as error:
            rejected.append(RejectedRow(str(path), number, str(error)))
    if not edits:
        why = f"; the first: {rejected[0]}" if rejected else ""
        raise DataError(f"{path}: no row can be used ({len(rejected)} set aside{why})")
    return edits, rejected


def _minimal_edit(row: Any) -> MinimalEdit:
    if not isinstance(row, dict):
        raise ValueError(f"is not an object: {row!r:.60}")
    original = row.get("original_response")
    if not isinstance(original, str) or not original.strip():
        raise ValueError(f"original_response is no text: {original!r:.60}")
    persona = clean_persona(_texts(row, "intervening_persona"))
    edits = tuple(text.strip() for text in _texts(row, "references") if text.strip())
    if not persona or not edits:
        raise ValueError(f"has no {'references' if persona else 'intervening_persona'}")
    context = tuple(text.strip() for text in _texts(row, "context"))
    return MinimalEdit(persona, context, original.strip(), edits)


def _texts(row: dict[str, Any], key: str) -> list[str]:
    given = row.get(key)
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise ValueError(f"{key} is not a list of texts: {given!r:.60}")
    return given


def read_personagym(path: str | Path, task: str, questions: int | None = None) -> list[Probe]:
    """A JSON object `{person: {task: [question, ...]}}`; of each person the first `questions` of one task.

    Raises:
        DataError: there is no such file, it has another form, or nobody is asked such questions.
    """
    people = read_json_file(path)
    if not isinstance(people, dict) or not people:
        raise DataError(f'{path}: is not a JSON object {{"person": {{"task": ["question", ...]}}}}')
    for person, tasks in people.items():
        listed = isinstance(tasks, dict) and all(isinstance(asked, list) for asked in tasks.values())
        if not listed or not all(isinstance(text, str) for asked in tasks.values() for text in asked):
            raise DataError(f"{path}: the questions to {person!r:.60} are not {{task: [text, ...]}}")
    tasks = list(dict.fromkeys(name for asked in people.values() for name in asked))
    known = {" ".join(name.lower().split()): name for name in tasks}
    name = known.get(" ".join(task.lower().replace("-", " ").split()))
    if name is None:
        raise DataError(f"{path}: has no task {task!r}; it has {', '.join(tasks) or 'none'}")
    probes = [
        Probe(person, clean_persona(sentences(person)), name, text.strip())
        for person, asked in people.items()
        for text in asked.get(name, [])[:questions]
        if text.strip()
    ]
    if not probes:
        raise DataError(f"{path}: nobody is asked a question of the task {name}")
    return probes


def read_json_file(path: str | Path) -> Any:
    """The JSON in a file, also as .xz or .gz.

    Raises:
        DataError: there is none.
    """
    try:
        return json.loads(read_text(Path(path)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: is not JSON ({error!s:.80})") from None
