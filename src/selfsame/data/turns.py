"""A list of turns, told by what its items hold: who speaks, the text, the time, which traits a turn uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from selfsame.data.field_names import IS_BOT, IS_USER, TEXT, TIMES, WHO, fold, folded
from selfsame.data.names import name_key, role_of
from selfsame.data.tagged import MOST_WORDS, alternating_turns, tag_of, tagged_turns, tags_of

_SERVICE = ("service", "system", "notification")
_PAIRS = (
    *((user, bot) for user in ("user", "human", "prompter") for bot in ("bot", "assistant", "gpt", "ai", "model")),
    *(("question", "answer"), ("input", "output"), ("prompt", "response"), ("prompt", "completion")),
    *(("instruction", "output"), ("instruction", "response"), ("query", "response"), ("query", "answer")),
)
_CLOCKS = ("%B %d, %Y %I:%M%p", "%Y-%m-%d@%Hh%Mm", "%Y-%m-%d @%Hh %Mm %Ss %fms", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p")
_LONGEST_SPEAKER = 60


@dataclass(frozen=True, slots=True)
class Said:
    """One turn as it stands in a file.

    Attributes:
        who: the name; "first" and "second" where turns only alternate.
        text: what was said.
        traits: the annotation, unchecked; None: none.
        side: "bot" or "user" where a flag of the turn says so.
        fault: why the turn cannot be used; "": it can.
        time: seconds since 1970; None: unknown.
        line: line of its own in the file; 0: that of its record.
    """

    who: Any
    text: str = ""
    traits: Any = None
    side: str = ""
    fault: str = ""
    time: float | None = None
    line: int = 0


def read_turns(value: Any, speaker: str = "", text: str = "", known_only: bool = False) -> list[Said] | None:
    """The turns in a field; None if it holds no turns. `speaker`, `text`: fields of a turn, where they are given.

    Raises:
        ValueError: there are turns, but of a text that cannot be divided among its speakers.
    """
    if isinstance(value, str):
        if lines := None if known_only else alternating_turns(value):
            return _alternating(lines)
        return [_said(who, said) for _, who, said in tagged_turns(value, known_only)]
    if isinstance(value, Mapping):
        value = _transposed(value)
    if not isinstance(value, (list, tuple)) or not value:
        return None
    if all(isinstance(item, str) for item in value):
        return read_turns("\n".join(value)) if any(tags_of(value)) else _alternating(value)
    if sum(isinstance(item, Mapping) for item in value) > len(value) / 2:
        return _of_objects(value, speaker, text)
    if any(isinstance(item, (list, tuple)) for item in value):
        return _of_lists(value)
    return None


def turns_before(history: Any) -> list[Said]:
    """What was said before a question: pairs, messages, or texts of which the last is the bot's."""
    if not isinstance(history, (str, list, tuple)) or not history:
        return []
    pairs = [pair for pair in history if isinstance(pair, (list, tuple)) and len(pair) == 2]
    if pairs and len(pairs) == len(history) and not all(role_of(user) for user, _ in pairs):
        return [
            Said(who, text)
            for pair in pairs
            for who, text in zip(("user", "bot"), pair, strict=True)
            if isinstance(text, str)
        ]
    turns = read_turns(history) or []
    if all(turn.who in ("first", "second") for turn in turns):
        return [replace(turn, who=("bot", "user")[(len(turns) - 1 - k) % 2]) for k, turn in enumerate(turns)]
    return [replace(turn, who=role) if (role := role_of(turn.who)) in ("user", "bot") else turn for turn in turns]


def _alternating(texts: Sequence[str]) -> list[Said]:
    return [Said(("first", "second")[k % 2], text) for k, text in enumerate(texts)]


def _transposed(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Turns of an object that holds a list for each field, as the hub gives them."""
    columns = {name: cells for name, cells in value.items() if isinstance(cells, (list, tuple))}
    lengths = {len(cells) for cells in columns.values()}
    if len(columns) < 2 or len(lengths) != 1:
        return None
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _of_lists(value: Sequence[Any]) -> list[Said]:
    """[speaker, text] or [speaker, text, traits]; or [what the user says, what the bot answers]."""
    pairs = [item for item in value if isinstance(item, (list, tuple))]
    firsts = [item[0] for item in pairs if item]
    texts = all(len(item) == 2 and all(isinstance(part, str) for part in item) for item in pairs)
    if texts and (sum(map(_is_sentence, firsts)) >= len(firsts) / 2 or _are_questions(firsts)):
        return [said for user, bot in pairs for said in (Said("user", user), Said("bot", bot))]
    turns = []
    for item in value:
        if not isinstance(item, (list, tuple)) or len(item) not in (2, 3):
            turns.append(Said("", fault=f"is not [speaker, text] or [speaker, text, traits]: {item!r:.60}"))
        else:
            turns.append(_said(item[0], item[1], item[2] if len(item) == 3 else None))
    return turns


def _are_questions(firsts: Sequence[str]) -> bool:
    """Whether nobody of those who would speak comes back or is known, and there are many, or one is called like no name."""
    if any(map(role_of, firsts)) or len(set(map(name_key, firsts))) < len(firsts):
        return False
    return len(firsts) > 2 or not all(tag_of(f"{first}: ") for first in firsts)


def _is_sentence(text: str) -> bool:
    return len(text.split()) > MOST_WORDS or text.strip()[-1:] in tuple(".?!…。？！")


def _of_objects(value: Sequence[Any], speaker: str, text: str) -> list[Said] | None:
    items = [_flat(item) if isinstance(item, Mapping) else item for item in value]
    fields = [item for item in items if isinstance(item, dict)]
    if not (speaker or text):
        if exchanges := _exchanges(fields):
            return exchanges
        filled = [{who: said for who, said in item.items() if said is not None} for item in fields]
        if all(len(item) == 1 and all(map(role_of, item)) for item in filled):
            return [_said(who, said) for item in filled for who, said in item.items()]
    text = fold(text) if text else _find_text(fields)
    speaker = fold(speaker) if speaker else _find_speaker(fields, text)
    if not text or not (speaker or any(flag in item for item in fields for flag in (*IS_USER, *IS_BOT))):
        return None
    turns = []
    for item in items:
        if not isinstance(item, dict):
            turns.append(Said("", fault=f"is no object like the others: {item!r:.60}"))
        else:
            turns.append(_of_object(item, speaker, text))
    return turns


def _of_object(item: dict[str, Any], speaker: str, text: str) -> Said:
    side = ""
    for flags, yes, no in ((IS_USER, "user", "bot"), (IS_BOT, "bot", "")):
        for flag in flags:
            if item.get(flag) is not None and not side:
                side = yes if str(item[flag]).lower() in ("true", "1") else no
    who = item.get(speaker)
    if who is None or who == "":
        who = side
    said = _said(who, item.get(text), item.get("traits"))
    service = (
        str(item.get("type", "")).lower() in _SERVICE
        or item.get("is_system") is True
        or ("isbot" in item and str(item.get("type", "Default")) not in ("Default", "Reply"))
    )
    fault = "is a system message" if service else said.fault
    line = item["line"] if type(item.get("line")) is int else 0
    time = next((t for name in TIMES if (t := seconds_of(item.get(name))) is not None), None)
    return replace(said, side=side, fault=fault, time=time, line=line)


def _said(who: Any, value: Any, traits: Any = None) -> Said:
    role = role_of(who)
    text = _text_of(value)
    if role == "other":
        return Said(who, text or "", fault=f"is of {who!r}")
    if not isinstance(who, (str, int, float)) or who == "":
        return Said("", text or "", fault="has no speaker")
    if text is None:
        return Said(who, fault=f"is not a text: {value!r:.60}")
    return Said(who, text, traits)


def _text_of(value: Any) -> str | None:
    """The text of a field: a text, a list of parts (OpenAI, Telegram), or an object around it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return _text_of(value.get("text", value.get("parts", value.get("content"))))
    if isinstance(value, (list, tuple)) and value:
        parts = [_text_of(part) for part in value]
        found = [part for part in parts if part]
        # A picture among the parts has no text; Telegram's parts carry their own white space.
        return "".join(found) if any(isinstance(part, str) for part in value) else "\n".join(found) or None
    return "" if value == [] else None


def _flat(item: Mapping[Any, Any]) -> dict[str, Any]:
    """A turn under folded names; what an object such as `author` or `src` holds stands next to it."""
    fields = folded(item)
    for name in (*WHO, "message"):
        inside = fields.get(name)
        if isinstance(inside, Mapping):
            inner = folded(inside)
            named = next((inner[n] for n in ("name", "role", "username", "nickname", "id") if inner.get(n)), "")
            fields = {**inner, **fields, name: named} if name != "message" else {**fields, **inner, "message": None}
    return fields


def _exchanges(fields: Sequence[dict[str, Any]]) -> list[Said] | None:
    """Turns of objects that hold what the user says and what the bot answers."""
    for user, bot in _PAIRS:
        if all(isinstance(item.get(user), str) and isinstance(item.get(bot), str) for item in fields):
            return [said for item in fields for said in (_said("user", item[user]), _said("bot", item[bot]))]
    return None


def _find_text(fields: Sequence[dict[str, Any]]) -> str:
    """The field of the text: by its name, or the only one that holds sentences."""
    present = [name for name in TEXT if sum(name in item for item in fields) > len(fields) / 2]
    full = [name for name in present if any(_text_of(item.get(name)) for item in fields)]
    if full or present:
        return (full or present)[0]
    names = {name for item in fields for name in item}
    spoken = [
        n for n in names if sum(isinstance(i.get(n), str) and " " in i[n].strip() for i in fields) >= len(fields) / 2
    ]
    return spoken[0] if len(spoken) == 1 else ""


def _find_speaker(fields: Sequence[dict[str, Any]], text: str) -> str:
    """The field of the speaker: one whose values are known sides, by its name, or the only one whose values come back."""
    names = list(dict.fromkeys(name for item in fields for name in item if name != text))

    def values(name: str) -> list[Any]:
        return [item.get(name) for item in fields if item.get(name) not in (None, "")]

    named = [n for n in WHO if n in names and values(n)]
    others = [n for n in names if n not in named]
    for name in (*named, *others):
        sides = {role_of(v) for v in values(name) if isinstance(v, str) and not re.search(r"\d", v)}
        if {"user", "bot"} <= sides and (name in named or "" not in sides):
            return name
    if named:  # of several, one that tells at least two apart
        return next((n for n in named if len(set(map(str, values(n)))) > 1), named[0])
    back = [
        name
        for name in others
        if (found := values(name))
        and all(isinstance(v, str) and len(v) <= _LONGEST_SPEAKER for v in found)
        and len(found) == len(fields)
        and 2 <= len(set(map(name_key, found))) <= max(2, len(found) / 2)
        and len(found) > 2
    ]
    return back[0] if len(back) == 1 else ""


def seconds_of(value: Any) -> float | None:
    """Seconds since 1970 of a time as chat programs write it; None if it is none."""
    if isinstance(value, bool) or value in (None, ""):
        return None
    if isinstance(value, (int, float)) or (isinstance(value, str) and re.fullmatch(r"\d{9,13}(?:\.\d+)?", value)):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number / 1000 if number > 1e11 else number if number > 1e8 else None
    if isinstance(value, datetime):
        return value.timestamp()
    if not isinstance(value, str):
        return None
    text = re.sub(r"\.\d+", "", value.strip()).replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    for clock in _CLOCKS:
        try:
            return datetime.strptime(value.strip(), clock).timestamp()
        except ValueError:
            continue
    return None


def sessions(turns: Iterable[Said], gap: float) -> list[list[Said]]:
    """The turns, divided where more than `gap` seconds lie between two times."""
    found: list[list[Said]] = [[]]
    last: float | None = None
    for turn in turns:
        if last is not None and turn.time is not None and turn.time - last > gap and found[-1]:
            found.append([])
        last = turn.time if turn.time is not None else last
        found[-1].append(turn)
    return found
