"""Where a record says who the bot and the partner are: names of fields, system messages, texts that become traits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfsame.cards.traits import make_traits
from selfsame.data.field_names import BOT_NAME, BOT_PERSONA, PARTNER_PERSONA, SPC, USER_NAME, fold, folded
from selfsame.text.keywords import sentences

_NUMBERED = (("user1_persona", "user2_persona"), SPC[:2])
NUMBERED = "both speakers' fields"
"""Where the personas are from that belong to the speakers 1 and 2."""
WEAK = ("traits", "profile", "bio", "description", "instruction")
"""Fields that may tell of something else: a persona that is given wins over them."""
_AFTER_SYSTEM = "traits"
"""Fields before this one say more surely who the bot is than a system message does."""
_NOBODY = "Nobody"
"""Stands for the name that cards need where a text says none."""
_ROLE_PLAY = re.compile(r"(?:act as|pretend|play the role|imagine you)\b", re.IGNORECASE)
_ADDRESSED = re.compile(r"\s*(?:you are|you're|act as|pretend|play the role|your name is|imagine you)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Personas:
    """The traits of both sides as the file gives them.

    Attributes:
        partner, bot: traits, empty ones among them.
        source: where the bot's were found, for the account of what was understood; "" where nowhere.
        numbered: they belong to the speakers 1 and 2, and are kept word for word.
    """

    partner: tuple[str, ...] = ()
    bot: tuple[str, ...] = ()
    source: str = ""
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class SystemText:
    """The traits in a text for the model, and whether it speaks to the model ("You are ...")."""

    traits: tuple[str, ...]
    addressed: bool


def find_personas(fields: Mapping[str, Any], system: str, given: str = "") -> Personas:
    """The personas of a record; `system` is the text of its leading system messages, `given` a field that is named.

    Raises:
        ValueError: the named field is missing, or a persona is no text and no list of texts.
    """
    if given:
        if fold(given) not in fields:
            raise ValueError(f"has no field {given!r} for the persona; its fields are {', '.join(map(repr, fields))}")
        return Personas((), _traits(fold(given), fields[fold(given)]), given)
    for first, second in _NUMBERED:
        if first in fields and second in fields:
            return Personas(_traits(first, fields[first]), _traits(second, fields[second]), NUMBERED, numbered=True)
    both = fields.get("personas")
    if isinstance(both, (list, tuple)) and len(both) == 2 and all(isinstance(one, (list, tuple)) for one in both):
        return Personas(_traits("personas", both[0]), _traits("personas", both[1]), "personas")
    partner = next((traits for name in PARTNER_PERSONA if (traits := _traits(name, fields.get(name)))), ())
    for name in BOT_PERSONA:
        if name == _AFTER_SYSTEM and system.strip():
            return Personas(partner, system_traits(system).traits, "the system message")
        if traits := _traits(name, fields.get(name)):
            return Personas(partner, traits, name)
    return Personas(partner)


def bot_name(fields: Mapping[str, Any], given: str = "") -> str:
    """The bot's name: `given`, or what the field of that name holds; or a field that names the character."""
    if given:
        return str(fields.get(fold(given), given))
    persona = next(
        (fields[name] for name in ("character", "persona", "bot") if isinstance(fields.get(name), Mapping)), {}
    )
    names = [fields.get(name) for name in BOT_NAME] + [folded(persona).get("name")]
    return next((name.strip() for name in names if isinstance(name, str) and 0 < len(name.strip()) <= 40), "")


def user_name(fields: Mapping[str, Any]) -> str:
    """The partner's name where a field says it."""
    return next((fields[name].strip() for name in USER_NAME if isinstance(fields.get(name), str)), "")


def system_traits(text: str) -> SystemText:
    """The traits in a text for the model: its sentences, without bullets; "You are Marta." in the first person."""
    addressed = _ADDRESSED.match(text)
    if not addressed:
        lines = "\n".join(re.sub(r"^\s*(?:[-*•#]+|\d+[.)])\s+", "", line) for line in text.split("\n"))
        return SystemText(tuple(sentences(lines)), False)
    called = re.match(
        r"\s+(?:called |named )?([A-Z][\w'’-]*(?: [A-Z][\w'’-]*)*)(?=[.,;!\n]|$)", text[addressed.end() :]
    )
    name = called[1] if called else ""
    traits = make_traits(name or _NOBODY, text)
    # "I am Marta." says what "My name is Marta." says; a nameless one has no such trait.
    first = f"I am {name}." in traits or not name
    told = [trait.replace(f"{_NOBODY}: ", "") for trait in traits[first:] if not _ROLE_PLAY.match(trait)]
    return SystemText(tuple(told), True)


def _traits(name: str, value: Any) -> tuple[str, ...]:
    """Traits of a list, of a text (a trait a line or between bars, else a sentence), or of an object's fields."""
    if value is None or value == "":
        return ()
    if isinstance(value, Mapping):
        inside = {key: one for key, one in folded(value).items() if key not in ("name", "id", "image", "avatar")}
        return tuple(t for key, one in inside.items() if isinstance(one, (str, list)) for t in _traits(key, one))
    if isinstance(value, str):
        if name in SPC or (re.search(r"[|\n]", value) and not name.startswith("system")):
            return tuple(re.split(r"[|\n]", value.strip()))
        if name == "character" and len(value.split()) <= 4:
            return ()  # its name
        return system_traits(value).traits
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"a persona is a list of texts or a text, got {value!r:.60}")
    for trait in value:
        if not isinstance(trait, str):
            raise ValueError(f"a trait is not a text: {trait!r:.60}")
    return tuple(value)
