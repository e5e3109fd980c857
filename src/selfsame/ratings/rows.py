"""Rows of a JSONL file that a command scores.

They are replies and dialogues that people rated, pairs of sentences with a label, or prompts with candidates. A rejected row is
reported with its file and line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from selfsame.data.containers import json_object
from selfsame.data.encoding import read_text
from selfsame.errors import DataError
from selfsame.types import LABELS, LabelledPair, Persona, RejectedRow, clean_persona

Row = TypeVar("Row")


@dataclass(frozen=True)
class RatedReply:
    """A reply, or a whole dialogue, with what people thought of it.

    Attributes:
        id: unique in its file.
        dialogue: rows of one dialogue are resampled together.
        persona: of the bot; empty: unknown.
        context: what was said before, alternating, the partner's turn last. Of a whole dialogue: all of it, alternating,
            the partner first (an empty text where the bot opened).
        reply: None: the ratings are of the whole dialogue.
        ratings: per name, one number for each annotator.
    """

    id: str
    dialogue: str
    persona: Persona
    context: tuple[str, ...]
    reply: str | None
    ratings: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def rating(self, name: str) -> float:
        """Mean of the annotators; NaN where there is none."""
        given = self.ratings.get(name, ())
        return sum(given) / len(given) if given else math.nan

    def own_turns(self) -> list[RatedReply]:
        """The replies to score: this one; of a whole dialogue every turn of the bot with what was said before."""
        if self.reply is not None:
            return [self]
        return [
            RatedReply(f"{self.id}/{k}", self.dialogue, self.persona, self.context[:k], self.context[k])
            for k in range(1, len(self.context), 2)
        ]


@dataclass(frozen=True)
class RankedPrompt:
    """A prompt and its candidates, each (text, group)."""

    persona: Persona
    context: tuple[str, ...]
    candidates: tuple[tuple[str, str], ...]
    dialogue: str


@dataclass(frozen=True)
class GivenReply:
    """A reply that some system gave.

    Attributes:
        line: its line in the file.
        system: who gave it.
        dialogue: rows of one dialogue are resampled together; None: those of one prompt are.
        persona: of the one who replies.
        context: what was said before, alternating, the partner first (an empty text where the other opened) and last.
        reply: may be empty.
        gold: what a person replied; empty: not known.
        gold_traits: indices of the traits that the gold reply uses; None: unknown.
    """

    line: int
    system: str
    dialogue: str | None
    persona: Persona
    context: tuple[str, ...]
    reply: str
    gold: str = ""
    gold_traits: tuple[int, ...] | None = None

    @property
    def prompt(self) -> tuple[Persona, tuple[str, ...]]:
        return self.persona, self.context


def read_rated(path: str | Path) -> tuple[list[RatedReply], list[RejectedRow]]:
    """Rows `{"id", "dialogue", "persona": [str], "context": [str], "reply": str, "ratings": {name: [number, ...]}}`;
    `reply` is left out for a rating of the whole dialogue, `id` and `dialogue` may be (then every row is its own). An
    annotator who gave no number is null.

    Raises:
        DataError: there is no such file, or no row of it can be used.
    """
    rows, rejected = _read(path, _rated)
    seen: dict[str, int] = {}
    for line, row in rows:
        if seen.setdefault(row.id, line) != line:
            rejected.append(RejectedRow(str(path), line, f"the id {row.id!r} was used before, on line {seen[row.id]}"))
    return [row for line, row in rows if seen[row.id] == line], sorted(rejected, key=lambda r: r.line)


def read_pairs(path: str | Path) -> tuple[list[LabelledPair], list[RejectedRow]]:
    """Rows `{"premise", "hypothesis", "label": "contradiction" | "neutral" | "entailment"}`, optionally with a `dialogue`.
    Raises as `read_rated`."""
    rows, rejected = _read(path, _pair)
    return [row for _, row in rows], rejected


def read_candidates(path: str | Path) -> tuple[list[RankedPrompt], list[RejectedRow]]:
    """Rows `{"persona": [str], "context": [str], "candidates": [{"text", "group"}, ...]}`, optionally with a `dialogue`.
    Raises as `read_rated`."""
    rows, rejected = _read(path, _candidates)
    return [row for _, row in rows], rejected


def read_given(path: str | Path) -> tuple[list[GivenReply], list[RejectedRow]]:
    """Rows `{"persona": [str], "context": [str], "reply": str}`, optionally with `dialogue`, `gold`, `gold_traits` (indices of
    traits, from 0) and `system`. Raises as `read_rated`."""
    rows, rejected = _read(path, _given)
    return [row for _, row in rows], rejected


def _read(
    path: str | Path, parse: Callable[[dict[str, Any], int], Row]
) -> tuple[list[tuple[int, Row]], list[RejectedRow]]:
    rows: list[tuple[int, Row]] = []
    rejected: list[RejectedRow] = []
    for number, line in enumerate(read_text(Path(path)).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, parse(_object(line), number)))
        except _Reason as reason:
            rejected.append(RejectedRow(str(path), number, str(reason)))
    if not rows:
        why = f"; the first: {rejected[0]}" if rejected else ""
        raise DataError(f"{path}: no row can be used ({len(rejected)} rejected{why})")
    return rows, rejected


class _Reason(Exception):
    """Why a row is rejected."""


def _object(line: str) -> dict[str, Any]:
    try:
        return json_object(line)
    except ValueError as error:
        raise _Reason(str(error)[:100]) from error


def _rated(row: dict[str, Any], number: int) -> RatedReply:
    reply = row.get("reply")
    if reply is not None and not isinstance(reply, str):
        raise _Reason(f"reply is not text but {reply!r:.40}")
    context = tuple(text.strip() for text in _texts(row, "context"))
    if reply is None and len(context) < 2:
        raise _Reason("neither a reply nor a dialogue of two turns to rate")
    ratings = row.get("ratings") or {}
    if not isinstance(ratings, dict):
        raise _Reason(f'ratings is {ratings!r:.40}; give {{"overall": [4, 5, 3]}}')
    name = str(row.get("id", number))
    given = {str(key): _numbers(key, values) for key, values in ratings.items()}
    dialogue = str(row.get("dialogue", name))
    persona = clean_persona(_texts(row, "persona"))
    return RatedReply(name, dialogue, persona, context, None if reply is None else reply.strip(), given)


def _pair(row: dict[str, Any], number: int) -> LabelledPair:
    for key in ("premise", "hypothesis"):
        if not isinstance(row.get(key), str):
            raise _Reason(f"{key} is not text but {row.get(key)!r:.40}")
    if row.get("label") not in LABELS:
        raise _Reason(f"label is {row.get('label')!r:.40}; give {', '.join(LABELS)}")
    return LabelledPair(row["premise"], row["hypothesis"], row["label"], str(row.get("dialogue", number)))


def _candidates(row: dict[str, Any], number: int) -> RankedPrompt:
    given = row.get("candidates")
    if not isinstance(given, list) or not given:
        raise _Reason('candidates is missing; give [{"text": "I have two dogs.", "group": "gold"}, ...]')
    for one in given:
        if not isinstance(one, dict) or not isinstance(one.get("text"), str) or "group" not in one:
            raise _Reason(f"a candidate without text or group: {one!r:.60}")
    candidates = tuple((one["text"].strip(), str(one["group"])) for one in given)
    context = tuple(text.strip() for text in _texts(row, "context"))
    return RankedPrompt(clean_persona(_texts(row, "persona")), context, candidates, str(row.get("dialogue", number)))


def _given(row: dict[str, Any], number: int) -> GivenReply:
    for key in ("reply", "gold"):
        if not isinstance(row.get(key), str) and (key == "reply" or row.get(key) is not None):
            raise _Reason(f"{key} is not text but {row.get(key)!r:.40}")
    traits, context = _texts(row, "persona"), tuple(text.strip() for text in _texts(row, "context"))
    kept = [k for k, trait in enumerate(traits) if clean_persona([trait])]
    gold_traits = row.get("gold_traits", row.get("gold_traits"))  # "called": in files of earlier versions
    if gold_traits is not None:
        if not isinstance(gold_traits, list) or not all(type(k) is int and 0 <= k < len(traits) for k in gold_traits):
            raise _Reason(f"gold_traits is {gold_traits!r:.40}; give indices of the {len(traits)} traits, from 0")
        gold_traits = tuple(kept.index(k) for k in dict.fromkeys(gold_traits) if k in kept)
    dialogue, gold = row.get("dialogue"), row.get("gold") or ""
    return GivenReply(
        number,
        str(row.get("system") or "replies"),
        None if dialogue is None else str(dialogue),
        clean_persona(traits),
        context if len(context) % 2 else ("", *context),
        row["reply"].strip(),
        gold.strip(),
        gold_traits,
    )


def _texts(row: Mapping[str, Any], key: str) -> list[str]:
    given = row.get(key) or []
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise _Reason(f"{key} is not a list of texts but {given!r:.40}")
    return given


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    """The numbers of the annotators who gave one; a single number is one annotator."""
    listed = values if isinstance(values, list) else [values]
    found = [value for value in listed if value is not None]
    for value in found:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
            raise _Reason(f"rating {name!r} holds {value!r:.40}, which is not a number (null: none given)")
    return tuple(map(float, found))
