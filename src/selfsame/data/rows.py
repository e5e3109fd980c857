"""Rows that are parts of one conversation -> the conversation: a message a row, or an utterance with its history a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfsame.data.field_names import CONVERSATION, ORDER, TEXT, WHO
from selfsame.data.turns import Said


@dataclass(slots=True)
class Found:
    """A record in which turns, or one turn, were found."""

    line: int
    fields: dict[str, Any]
    form: str
    turns: list[Said]
    kind: str = "turns"


def joined(found: Iterable[Found]) -> Iterator[Found]:
    """The conversations, messages of one conversation as one; all messages of a source without an id belong together."""
    groups: dict[Any, list[Found]] = {}
    header: dict[str, Any] = {}
    for item in found:
        if item.kind == "header":
            header = item.fields
        elif item.kind == "message":
            key = next(
                (str(item.fields[name]) for name in CONVERSATION if isinstance(item.fields.get(name), (str, int))), ""
            )
            groups.setdefault(key, []).append(item)
        else:
            yield item
    for items in groups.values():
        order = next((name for name in ORDER if all(_is_number(item.fields.get(name)) for item in items)), "")
        if order:
            items = sorted(items, key=lambda item: float(item.fields[order]))
        turns = [replace(turn, line=item.line) for item in items for turn in item.turns]
        first = min(items, key=lambda item: item.line)
        around = {name: value for name, value in first.fields.items() if name not in (*TEXT, *WHO, "id", "title")}
        yield Found(first.line, {**header, **around}, "a message a row", turns)


def _is_number(value: Any) -> bool:
    return str(value).lstrip("-").isdecimal() and not isinstance(value, bool)


def without_prefixes(found: Sequence[Found]) -> Iterator[Found]:
    """Rows of one utterance each: of those that grow out of one another the last, and one for each conversation id."""
    last: dict[Any, Found] = {}
    chain = 0
    before: Found | None = None
    for item in found:
        if item.kind != "prefix":
            yield item
            continue
        key = next((item.fields[name] for name in CONVERSATION if isinstance(item.fields.get(name), (str, int))), None)
        if key is None:
            grows = before is not None and [t.text for t in item.turns[:1]] == [t.text for t in before.turns[:1]]
            chain += not grows or len(item.turns) <= len(before.turns if before else ())
            key = ("chain", chain)
        before = item
        if key not in last or len(item.turns) >= len(last[key].turns):
            last[key] = replace(item, line=last[key].line) if key in last else item
    yield from last.values()
