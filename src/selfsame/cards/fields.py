"""Every dialect of character cards -> one list of fields.

Cards V2 and V3 keep their fields under `data`, V1 flat; other programs have other names for the same things. What is
read becomes the `data` of a V3 card first (`as_data`), so that there is one form to understand and to write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from selfsame.cards.macros import collapsed

_ALIASES = {
    "name": ("name", "char_name", "aiDisplayName", "aiName", "participant__name", "bot_name"),
    "description": ("description", "char_persona", "desc", "context", "aiPersona", "definition", "char_description"),
    "personality": ("personality", "personality_summary"),
    "scenario": ("scenario", "world_scenario"),
    "first_mes": ("first_mes", "char_greeting", "firstMessage", "greeting", "first_message"),
    "mes_example": ("mes_example", "example_dialogue", "exampleMessage", "sampleChat", "customDialogue"),
    "system_prompt": ("system_prompt", "systemPrompt", "basePrompt"),
    "post_history_instructions": ("post_history_instructions", "postHistoryInstructions"),
    "alternate_greetings": ("alternate_greetings", "alternateGreetings"),
    "character_book": ("character_book", "characterBook", "globalLore", "world_info"),
}
"""The names of a field: of V1 to V3 first, then of Pygmalion, RisuAI, text-generation-webui, Agnai, Backyard."""
_WRAPPERS = ("data", "character", "char")
_BOOK_ALIASES = {
    "keys": ("keys", "key"),
    "secondary_keys": ("secondary_keys", "keysecondary", "secondkey"),
    "content": ("content", "entry"),
    "constant": ("constant", "alwaysActive"),
}

MAX_BITS = 10_000
"""Of a number; Python refuses to write longer ones as decimals, and YAML reads them as hexadecimals."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a lorebook: what is true when one of its keys occurs in the last turns (and one of `also`, if any)."""

    keys: tuple[str, ...]
    content: str
    also: tuple[str, ...] = ()
    constant: bool = False
    case_sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Fields:
    """What a card says, as text with its macros. `data` holds all fields of the card, those that are not read too."""

    name: str
    description: str = ""
    personality: str = ""
    scenario: str = ""
    greeting: str = ""
    examples: str = ""
    system_prompt: str = ""
    last_instruction: str = ""
    greetings: tuple[str, ...] = ()
    book: tuple[Entry, ...] = ()
    unread_entries: int = 0
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


def fields_of(card: Mapping[str, Any]) -> Fields:
    """The fields of a card in any dialect. Texts that are missing or no texts are empty, the name too."""
    data = as_data(card)
    read, unread = _entries(data.get("character_book"))
    return Fields(
        name=" ".join(re.sub(r"\{\{[^{}]*\}\}|<(?:user|bot|char)>", "", _text(data.get("name"))).split()),
        description=_text(data.get("description")),
        personality=_text(data.get("personality")),
        scenario=_text(data.get("scenario")),
        greeting=_text(data.get("first_mes")),
        examples=_text(data.get("mes_example")),
        system_prompt=_text(data.get("system_prompt")),
        last_instruction=_text(data.get("post_history_instructions")),
        greetings=tuple(text for text in map(_text, _listed(data.get("alternate_greetings"))) if text.strip()),
        book=read,
        unread_entries=unread,
        data=data,
    )


def as_data(card: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `data` of a V3 card with the same content. That of a V2 or V3 card is returned as it is."""
    inner = next((card[key] for key in _WRAPPERS if isinstance(card.get(key), dict)), card)
    if str(card.get("spec", "")).startswith("chara_card_v"):
        return inner
    data = {key: value for key, value in inner.items() if not any(key in names for names in _ALIASES.values())}
    for name, aliases in _ALIASES.items():
        found = [inner[alias] for alias in aliases if inner.get(alias)]
        if found:
            data[name] = found[0]
    persona = inner.get("persona")
    if isinstance(persona, (dict, str)):  # Agnai, whose description is for people to read
        if isinstance(inner.get("description"), str) and inner["description"].strip():
            data["creator_notes"] = inner["description"]
        data["description"] = _attributes(persona) or data.get("description", "")
        data.pop("persona", None)
    return data


def _attributes(persona: Mapping[str, Any] | str) -> str:
    """Agnai's persona as text: prose, or a line `key: value; value` for each attribute."""
    attributes = persona if isinstance(persona, str) else persona.get("attributes", persona)
    if not isinstance(attributes, dict):
        return _text(attributes)
    lines = []
    for key, values in attributes.items():
        listed = [text for text in map(_text, _listed(values)) if text.strip()]
        prose = key in ("text", "kind") or any("\n" in text or len(text) > 120 for text in listed)
        if listed and key != "kind":
            lines.append("\n".join(listed) if prose else f"{_text(key)}: {'; '.join(listed)}")
    return "\n".join(lines)


def _entries(book: Any) -> tuple[tuple[Entry, ...], int]:
    """(entries that are switched on and can be used, number of those that cannot: without a key, or with a pattern as key)."""
    entries = book.get("entries") if isinstance(book, dict) else book
    entries = entries.values() if isinstance(entries, dict) else entries if isinstance(entries, list) else ()
    read, unread = [], 0
    for raw in entries:
        if not isinstance(raw, dict) or raw.get("enabled") is False or raw.get("disable") is True:
            continue
        keys = tuple(_keys(_first(raw, "keys")))
        content = "\n".join(line for line in _text(_first(raw, "content")).split("\n") if not line.startswith("@@"))
        constant = _first(raw, "constant") is True
        if not content.strip():
            continue
        # A pattern of a stranger may take hours to search for (catastrophic backtracking).
        if not (keys or constant) or raw.get("use_regex") or any(k.startswith("/") and k.count("/") > 1 for k in keys):
            unread += 1
            continue
        also = tuple(_keys(_first(raw, "secondary_keys"))) if raw.get("selective") else ()
        read.append(Entry(keys, content.strip(), also, constant, raw.get("case_sensitive") is True))
    return tuple(read), unread


def _first(raw: Mapping[str, Any], name: str) -> Any:
    return next((raw[alias] for alias in _BOOK_ALIASES[name] if raw.get(alias)), None)


def _keys(value: Any) -> Iterable[str]:
    """Lists, or one text with commas (RisuAI)."""
    found = value.split(",") if isinstance(value, str) else _listed(value)
    return (key.strip() for key in map(_text, found) if key.strip())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    """The text of a field, lists a line each; half surrogate pairs, which no tokenizer takes, become question marks."""
    if isinstance(value, list):
        return "\n".join(filter(None, map(_text, value)))
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return hex(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return collapsed(value.encode("utf-8", "replace").decode("utf-8")) if isinstance(value, str) else ""
