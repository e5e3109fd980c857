"""Rows that are parts of one conversation -> the conversation: a message a row, or an utterance with its history a row."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from selfsame.data.field_names import BOT_PERSONA, CONVERSATION, ORDER, PARTNER_PERSONA, TEXT, TIMES, WHO
from selfsame.data.names import role_of
from selfsame.data.turns import Said

_ID = re.compile(r"(?:^|_)(?:id|uuid|no|nr|num|number|key|idx|index)$|id$")


@dataclass(slots=True)
class Found:
    """A record in which turns, or one turn, were found."""

    line: int
    fields: dict[str, Any]
    form: str
    turns: list[Said]
    kind: str = "turns"
    group: object = None
    """The list inside a record that a message stands in."""


def joined(found: Iterable[Found]) -> Iterator[Found]:
    """The conversations, messages of one conversation as one; all messages of a source without an id belong together."""
    found = [*found]
    lists: dict[object, list[Found]] = {}
    for item in found:
        if item.kind == "message":
            lists.setdefault(item.group, []).append(item)
    names = {group: (*CONVERSATION, *_dividing(items)) for group, items in lists.items()}
    groups: dict[Any, list[Found]] = {}
    header: dict[str, Any] = {}
    for item in found:
        if item.kind == "header":
            header = item.fields
        elif item.kind == "message":
            key = next((str(k) for name in names[item.group] if _is_id(k := item.fields.get(name))), "")
            groups.setdefault((item.group, key), []).append(item)
        else:
            yield item
    for items in groups.values():
        order = next((name for name in ORDER if all(_is_number(item.fields.get(name)) for item in items)), "")
        if order:
            items = sorted(items, key=lambda item: _number(item.fields[order]))
        turns = [replace(turn, line=item.line) for item in items for turn in item.turns]
        first = min(items, key=lambda item: item.line)
        around = {name: value for name, value in first.fields.items() if name not in (*TEXT, *WHO, "id", "title")}
        yield Found(first.line, {**header, **around, **_personas_by_speaker(items)}, "a message a row", turns)


def _personas_by_speaker(items: Sequence[Found]) -> dict[str, Any]:
    """The bot's persona and the partner's, where a persona stands next to the messages of its speaker; the bot's is unknown
    where nothing says whose is whose."""
    name = next((name for name in BOT_PERSONA if any(item.fields.get(name) for item in items)), "")
    spoken = [(item.turns[0], item.fields[name]) for item in items if item.turns and item.fields.get(name)]
    found = {(str(turn.who), turn.side): (turn.side or role_of(turn.who), value) for turn, value in spoken}
    if not found:
        return {}
    sides = dict(found.values())
    if len({repr(value) for _, value in found.values()}) == 1:
        everybody = len(found) == len({(str(item.turns[0].who), item.turns[0].side) for item in items if item.turns})
        if everybody or "user" not in sides:  # the conversation's, whoever speaks
            return {name: next(iter(sides.values()))}
    named = sides.get("bot", sides.get("") if "user" in sides else None)
    return {name: named, PARTNER_PERSONA[0]: sides.get("user")}


def _is_id(value: Any) -> bool:
    return (isinstance(value, (str, int, float)) and value not in ("", True, False)) or value in (0, 1)


def _dividing(items: Sequence[Found]) -> list[str]:
    """The field that tells conversations apart where none has a usual name: one called an id or a number, whose values
    each stand in one block of at least two speakers."""
    if any(_is_id(item.fields.get(name)) for item in items for name in CONVERSATION):
        return []
    best: dict[str, int] = {}
    skipped = {*TEXT, *WHO, *TIMES, *ORDER}
    for name in (n for n in items[0].fields if n not in skipped and _ID.search(n)):
        if all(_is_id(item.fields.get(name)) for item in items):
            blocks = [(key, [*block]) for key, block in groupby(items, key=lambda item: str(item.fields[name]))]
            speakers = [{str(turn.who) for item in block for turn in item.turns} for _, block in blocks]
            if 1 < len({key for key, _ in blocks}) == len(blocks) and all(len(who) > 1 for who in speakers):
                best[name] = len(blocks)
    return sorted(best, key=lambda name: -best[name])[:1]


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is int or (isinstance(value, str) and bool(re.fullmatch(r"-?\d{1,18}", value)))


def _number(value: Any) -> float | int:
    return int(value) if isinstance(value, str) else value


def _grows(before: Found, item: Found) -> bool:
    """Whether a row begins with all that the row before it holds, and has its persona."""
    old, new = ([turn.text for turn in one.turns] for one in (before, item))
    same = all(before.fields.get(name) == item.fields.get(name) for name in BOT_PERSONA)
    return same and len(old) < len(new) and new[: len(old)] == old


def without_prefixes(found: Sequence[Found]) -> Iterator[Found]:
    """Rows of one utterance each: of those that grow out of one another the last, and one for each conversation id."""
    last: dict[Any, Found] = {}
    chain = 0
    before: Found | None = None
    for item in found:
        if item.kind != "prefix":
            yield item
            continue
        key = next((item.fields[name] for name in CONVERSATION if _is_id(item.fields.get(name))), None)
        if key is None:
            chain += before is None or not _grows(before, item)
            key = ("chain", chain)
        before = item
        if key not in last or len(item.turns) >= len(last[key].turns):
            last[key] = replace(item, line=last[key].line) if key in last else item
    yield from last.values()
