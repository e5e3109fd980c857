"""Records -> conversations: the turns, who speaks and the persona are found by what the fields hold.

| form | what a record holds |
|---|---|
| Selfsame | `user1_persona`, `user2_persona`, `turns`; or `persona`, `partner_persona`, `turns` |
| ShareGPT, OpenAI, TRL | `conversations` or `messages`, the persona in a system message or next to them |
| PersonaChat of the hub | `personality`, `utterances` of `history` and `candidates` (gold last); or one utterance a row |
| Alpaca | `instruction`, `input`, `output`, `system`, `history` |
| logs and exports | a message a row, or a list of them, with its name, text and time (SillyTavern, Discord, Telegram) |
| tables | `persona`, `dialogue` (lines `User: ...`, `Bot: ...`), and Synthetic-Persona-Chat's own columns |
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from selfsame.data.containers import Row
from selfsame.data.field_names import (
    ANSWERS,
    CONVERSATION,
    HISTORY,
    IS_BOT,
    IS_USER,
    ORDER,
    QUESTIONS,
    SPC,
    TEXT,
    TIMES,
    TURNS,
    WHO,
    fold,
    folded,
)
from selfsame.data.names import name_key
from selfsame.data.persona_fields import Personas, bot_name, find_personas, system_traits, user_name
from selfsame.data.rows import Found, joined, without_prefixes
from selfsame.data.turns import Said, read_turns, sessions, turns_before

GAP = 6 * 3600
"""Seconds without a message that end a session of a chat."""
_FORMS = {
    "Selfsame": ("persona", "turns"),
    "ShareGPT": ("conversations", "system"),
    "OpenAI": ("messages",),
    "PersonaChat of the hub": ("personality", "utterances", "history", "candidates"),
    "Alpaca": ("instruction", "input", "output", "system"),
    "a table": ("persona", "dialogue"),
    "a message a row": ("conversation_id", "speaker", "text"),
}
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation under the names of its file; `speakers.py` decides who is the bot.

    Attributes:
        id: of the file, or its stem with the line.
        turns: as they stand in the file, those with a fault among them.
        personas: of the partner and of the bot, each a list of traits or a text, and the field that held the bot's.
        bot: the bot's name where a field or a header says it.
        user: the partner's name, likewise.
        left_out: what the reader itself left out, by kind.
        form: which field or form the turns came from.
        numbered: the two personas belong to the speakers 1 and 2, and are kept word for word.
        fields: names of fields that were not understood, where no persona was found.
    """

    id: str
    turns: tuple[Said, ...]
    personas: Personas = field(default_factory=Personas)
    bot: str = ""
    user: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    form: str = "turns"
    numbered: bool = False
    fields: tuple[str, ...] = ()


class _NoFormError(ValueError):
    """A record without turns."""


def read_records(rows: Iterable[Row], stem: str, given: Mapping[str, str]) -> Iterator[tuple[int, Conversation | str]]:
    """(line, conversation or the reason why there is none) of all records of a source. `given`: fields that are named.

    Messages that stand one a row are put together; a chat is divided where six hours pass without a message.
    """
    found: list[Found] = []
    bad: list[tuple[int, str]] = []
    for line, record in rows:
        if isinstance(record, str):
            bad.append((line, record))
            continue
        try:
            found += _unwrap(line, record, given)
        except (ValueError, RecursionError) as error:
            bad.append((line, str(error)))
    bad += [(item.line, item.form) for item in found if item.kind == "bad"]
    whole = [*without_prefixes([*joined(item for item in found if item.kind != "bad")])]
    made: list[tuple[int, Conversation | str]] = [*bad]
    used = {str(item.fields.get("id")).strip(): 0 for item in whole}
    for item in whole:
        try:
            made += _conversations(item, stem, given, used)
        except ValueError as error:
            made.append((item.line, str(error)))
    yield from sorted(made, key=lambda row: row[0])


# --- finding the turns


def _unwrap(line: int, record: Any, given: Mapping[str, str], depth: int = 0) -> list[Found]:
    """What a record holds itself, or else what the objects inside it hold, each with the fields around it.

    Raises:
        _NoFormError: nothing.
        ValueError: turns that cannot be read.
    """
    fields = folded(record) if isinstance(record, Mapping) else {"turns": record}
    found = _find(line, fields, given)
    if found:
        return [found]
    inside: list[Found] = []
    for name, value in fields.items() if depth < _DEEPEST else ():
        outer = {n: v for n, v in fields.items() if n not in (name, "id")}
        here, strange = [], []
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, (Mapping, list)) and item:
                try:
                    here += _unwrap(line, item, given, depth + 1)
                except _NoFormError as error:
                    strange.append(Found(line, {}, str(error), [], kind="bad"))
                except ValueError as error:
                    here.append(Found(line, {}, str(error), [], kind="bad"))
        # What fits no form is noticed among dialogues only: elsewhere it describes something else.
        # Messages of one list belong together, and to no other record.
        group = object() if isinstance(value, (list, tuple)) else None
        here = [replace(part, fields={**outer, **part.fields}, group=part.group or group) for part in here]
        inside += here + (strange if here else [])
    if not inside:
        empty = any(fields.get(name) in ([], (), "") for name in TURNS if name in fields)
        raise _NoFormError("has 0 turns, at least 2 are needed" if empty else _no_form(fields))
    return inside


def _find(line: int, fields: dict[str, Any], given: Mapping[str, str]) -> Found | None:
    if "turns" in given:
        name = fold(given["turns"])
        if name not in fields:
            return None
        turns = read_turns(fields[name], given.get("speaker", ""), given.get("text", ""))
        return Found(line, fields, name, turns) if turns else None
    if "chosen" in fields and "rejected" in fields:
        raise ValueError("is a preference pair (chosen, rejected), not a dialogue; --pairs.path takes it")
    for read in (_of_candidates, _of_turns, _of_exchange, _of_message):
        found = read(fields, given)
        if found:
            return replace(found, line=line)
    if isinstance(fields.get("character_name"), str) and "user_name" in fields:
        return Found(line, fields, "header", [], kind="header")
    return None


def _of_candidates(fields: dict[str, Any], given: Mapping[str, str]) -> Found | None:
    """PersonaChat of the hub: the longest history and the right candidate, which is the last."""
    utterances = fields.get("utterances")
    options = utterances if isinstance(utterances, (list, tuple)) else [fields]
    good = [folded(u) for u in options if isinstance(u, Mapping)]
    good = [u for u in good if _are_texts(u.get("history")) and _are_texts(u.get("candidates")) and u["candidates"]]
    if not good:
        return None
    longest = max(good, key=lambda utterance: len(utterance["history"]))
    texts = [*longest["history"], longest["candidates"][-1]]
    # Counted from the end: the candidate is the bot's.
    turns = [Said(("bot", "user")[(len(texts) - 1 - k) % 2], text) for k, text in enumerate(texts)]
    turns = [turn for turn in turns if turn.text.strip().replace(" ", "") != "__SILENCE__"]
    kind = "turns" if utterances else "prefix"
    return Found(0, fields, "utterances" if utterances else "history", turns, kind)


def _are_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value)


def _of_turns(fields: dict[str, Any], given: Mapping[str, str]) -> Found | None:
    """Turns in a field with a usual name, or in the only field that holds a list of them."""
    known_only = set(SPC) <= set(fields)
    message = _of_message(fields, given)
    for name in TURNS:
        value = fields.get(name)
        if value is None or (message and not isinstance(value, (list, tuple, Mapping))):
            continue
        turns = read_turns(value, given.get("speaker", ""), given.get("text", ""), known_only)
        if turns:
            return Found(0, fields, str(fields.get("form", name)), turns)
    skipped = {*TURNS, *HISTORY, "candidates", "traits", "persona", "personality", "personas"}
    skipped |= {*QUESTIONS, *ANSWERS} if any(name in fields for name in ANSWERS) else set()
    others = []
    for name, value in fields.items():
        if name not in skipped and isinstance(value, (list, tuple)) and any(not isinstance(v, str) for v in value):
            turns = read_turns(value, given.get("speaker", ""), given.get("text", ""))
            others += [(name, turns)] if turns and len(turns) > 1 and all(t.who != "" or t.fault for t in turns) else []
    return Found(0, fields, *others[0]) if len(others) == 1 else None


def _of_exchange(fields: dict[str, Any], given: Mapping[str, str]) -> Found | None:
    """Alpaca and its like: a question, its answer and what was said before."""
    asked = [name for name in QUESTIONS if fields.get(name) and name != fold(given.get("persona", ""))]
    answer = next((name for name in ANSWERS if fields.get(name)), "")
    if not asked or not answer:
        return next((Found(0, fields, n, t) for n in HISTORY if (t := read_turns(fields.get(n) or []))), None)
    before, after = fields[asked[0]], fields[answer]
    if not isinstance(before, str):  # TRL's conversational prompt and completion
        turns = [*(read_turns(before) or ()), *(read_turns(after) or ())]
        return Found(0, fields, f"{asked[0]} and {answer}", turns) if turns else None
    if not isinstance(after, str):
        return None
    parts = [asked[0], *(name for name in asked[1:] if name in ("question", "query", "input"))]
    texts = [fields[name] for name in parts if isinstance(fields[name], str)]
    # What is asked is nobody's persona.
    rest = {name: value for name, value in fields.items() if name not in parts}
    if len(texts) == 2 and system_traits(texts[0]).addressed and "system" not in fields:
        rest["system"] = texts.pop(0)
    before = [said for name in HISTORY for said in turns_before(fields.get(name))]
    turns = [*before, Said("user", "\n".join(texts)), Said("bot", after)]
    return Found(0, rest, f"{asked[0]} and {answer}", turns)


def _of_message(fields: dict[str, Any], given: Mapping[str, str]) -> Found | None:
    """One message of a log."""
    spoken = [name for name in (*TEXT, "dialogue", "dialog") if isinstance(fields.get(name), (str, list))]
    text = fold(given.get("text", "")) or next(iter(spoken), "")
    flags = [name for name in (*IS_USER, *IS_BOT) if name in fields]
    named = [name for name in WHO if fields.get(name) not in (None, "")]
    who = given.get("speaker") or next(iter(named), "name" if flags else "")
    if not text or not who or (text in ("dialogue", "dialog") and "\n" in str(fields[text])):
        return None
    turns = read_turns([fields], who, text)
    return Found(0, fields, "a message a row", turns, kind="message") if turns else None


# --- making conversations


def _conversations(
    item: Found, stem: str, given: Mapping[str, str], used: dict[str, int]
) -> list[tuple[int, Conversation | str]]:
    fields = item.fields
    turns = item.turns
    leading = [turn for k, turn in enumerate(turns) if turn.fault == f"is of {turn.who!r}" and not _spoken(turns[:k])]
    system = "\n".join(turn.text for turn in leading if name_key(turn.who) in ("system", "developer", "systemprompt"))
    personas = find_personas(fields, system, given.get("persona", ""))
    rest = [turn for turn in turns if turn not in leading] if personas.source == "the system message" else turns
    named = isinstance(fields.get("id"), (str, int)) and str(fields["id"]).strip()
    made: list[tuple[int, Conversation | str]] = []
    for part in sessions(rest, GAP):
        line = part[0].line if part and part[0].line else item.line
        key = (
            str(fields["id"]).strip()
            if named and "conversation" not in str(fields.get("type"))
            else f"{stem}-{line:05d}"
        )
        used[key] = used.get(key, 0) + 1
        # The second session of a chat, or the second chat of a record; two records of one id are told.
        unique = key if used[key] == 1 or (named and len(made) == 0) else f"{key}-{used[key]}"
        while unique != key and unique in used:  # the id of another record
            used[key] += 1
            unique = f"{key}-{used[key]}"
        conversation = Conversation(
            unique,
            tuple(part),
            personas,
            bot_name(fields, given.get("bot", "")),
            user_name(fields),
            {kind: count for kind, count in (fields.get("left_out") or {}).items() if count and not made},
            item.form,
            personas.numbered,
            () if personas.source else _unread(fields, item.form),
        )
        made.append((line, conversation))
    return made


def _spoken(turns: Sequence[Said]) -> bool:
    return any(not turn.fault for turn in turns)


def _unread(fields: Mapping[str, Any], form: str) -> tuple[str, ...]:
    """Fields of text that may hold a persona."""
    known = {form, *TEXT, *WHO, *TIMES, *CONVERSATION, *ORDER, "id", "form", "candidates", "type", "extra", "swipes"}
    return tuple(repr(n) for n, v in fields.items() if n not in known and (isinstance(v, list) or " " in str(v)))[:8]


def _no_form(fields: Mapping[str, Any]) -> str:
    """Why a record cannot be used: its fields, and the form that they look most like."""
    names = [name for name in fields if name not in ("form", "left_out")]

    def likeness(form: tuple[str, ...]) -> float:
        return sum(bool(difflib.get_close_matches(name, names, 1, 0.75)) for name in form) / len(form)

    nearest = max(_FORMS, key=lambda form: likeness(_FORMS[form]))
    shown = ", ".join(map(repr, names[:12])) or "none"
    hint = (
        f"the nearest form is {nearest} ({', '.join(_FORMS[nearest])})"
        if likeness(_FORMS[nearest])
        else "no form is near"
    )
    return f"has no turns that can be read; its fields are {shown}, {hint}; name them with --data.fields turns=...,persona=..."
