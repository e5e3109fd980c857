"""Character cards of the chat world (V1 flat, V2 `chara_card_v2`, V3 `chara_card_v3`; JSON) -> a persona to talk to.

A card comes from anywhere: everything in it is text and stays text, whatever control markers it holds. Prompts are
made from it where all text is escaped (`data/processor.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsame.errors import DataError
from selfsame.text.keywords import sentences
from selfsame.types import Persona, clean_persona

MAX_BYTES = 1_000_000
MAX_TRAITS = 24
"""More would leave no room for the dialogue."""
MAX_TRAIT_LENGTH = 200
"""Characters; longer sentences are cut at a comma or a space."""

_PRONOUN = {"she": "", "he": "", "her": "'s", "his": "'s"}
_YOU = ((r"['’]s\b", "your"), (r" is\b", "you are"), (r" was\b", "you were"), (r" has\b", "you have"), ("", "you"))
_LABEL = re.compile(r"^[\[({]?\s*(?:description|personality|character)?\s*[:=]\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Card:
    """Who a card describes, how that person opens the conversation ("" = not), and the scene."""

    name: str
    persona: Persona
    first_message: str = ""
    scenario: str = ""


def read_card(path: str | Path) -> Card:
    """The card in a JSON file. Fields it does not know are ignored. Raises `DataError` with one clear line."""
    path = Path(path)
    card = _parse_json(path)
    data = card.get("data") if isinstance(card.get("data"), dict) else card  # V2 and V3 keep the fields one level down
    assert isinstance(data, dict)
    fields = {name: _text(data.get(name)) for name in ("name", "description", "personality", "scenario", "first_mes")}
    name = " ".join(fields["name"].split())
    if not name:
        raise DataError(
            f'{path}: the card has no name; expected {{"name": ..., "description": ...}}, flat or under data'
        )
    filled = {field: _fill_in(text, name) for field, text in fields.items()}
    persona = make_traits(name, filled["description"], filled["personality"])
    if not persona:
        raise DataError(f"{path}: the card of {name!r:.60} has neither a description nor a personality; add one")
    return Card(name, persona, filled["first_mes"].strip(), filled["scenario"].strip())


def read_persona(persona: Sequence[str] | str | Path) -> tuple[Persona, str]:
    """(traits, what the bot says first) of a list of sentences or of a character card.

    Raises:
        DataError: the persona is empty, or the card cannot be used.
    """
    if isinstance(persona, (str, Path)):
        if isinstance(persona, str) and " " in persona and not Path(persona).exists():
            raise DataError(f"{persona!r:.60} is not a file: give a list of sentences, or the path of a card")
        card = read_card(persona)
        return card.persona, card.first_message
    traits = clean_persona([*persona])
    if not traits:
        raise DataError("the persona is empty: give at least one trait, such as 'I have two dogs.'")
    return traits, ""


def make_traits(name: str, description: str, personality: str = "") -> Persona:
    """Short sentences that tell who is meant: in the first person, or with the name. At most `MAX_TRAITS`."""
    traits = [f"My name is {name}."] if description.strip() or personality.strip() else []
    lines = [_with_subject(part, name) for part in _split(description)]
    lines += [_with_subject(part, name, verb=" is") for part in _split(personality)]
    return clean_persona(list(dict.fromkeys([*traits, *filter(None, lines)]))[:MAX_TRAITS])


def _parse_json(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give a character card as a JSON file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a character card as a JSON file") from None
    if len(raw) > MAX_BYTES:
        raise DataError(f"{path}: is larger than {MAX_BYTES // 1_000_000} MB; a character card is a small JSON file")
    if raw.startswith(b"\x89PNG"):
        raise DataError(f"{path}: is a picture; export the card as JSON")
    try:
        card = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}); give a character card as a JSON file") from None
    if not isinstance(card, dict):
        raise DataError(f"{path}: is JSON, but not a character card; expected an object with name and description")
    return card


def _text(value: Any) -> str:
    """The text of a field; half surrogate pairs, which no tokenizer takes, become question marks."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _fill_in(text: str, name: str) -> str:
    """Names for the slots of a card. The one who talks to the character has no name here: "you"."""
    text = re.sub(r"\{\{char\}\}|<bot>", lambda _: name, text, flags=re.IGNORECASE)
    for slot, word in _YOU:
        text = re.sub(rf"(?:\{{\{{user\}}\}}|<user>){slot}", word, text, flags=re.IGNORECASE)
    return text


def _split(text: str) -> Iterator[str]:
    """The sentences of a description, without bullets and labels; long ones in pieces."""
    for sentence in sentences(text):
        clean = _LABEL.sub("", sentence.strip(" \t*-•#")).strip()
        while len(clean) > MAX_TRAIT_LENGTH:
            cut = max(clean.rfind(mark, 1, MAX_TRAIT_LENGTH) for mark in (", ", "; ")) + 1
            cut = cut or clean.rfind(" ", 1, MAX_TRAIT_LENGTH) + 1 or MAX_TRAIT_LENGTH
            yield clean[:cut].strip(" ,;")
            clean = clean[cut:].strip(" ,;")
        if any(letter.isalnum() for letter in clean):
            yield clean


def _with_subject(sentence: str, name: str, verb: str = "") -> str:
    """The sentence with somebody it is about: "She sings" -> "Mika sings"; "Tall" -> "Mika: Tall" or "Mika is tall"."""
    first, _, rest = sentence.partition(" ")
    ending = "" if sentence[-1] in ".!?\"'" else "."
    if first.lower() in _PRONOUN and rest:
        return f"{name}{_PRONOUN[first.lower()]} {rest}{ending}"
    if _mentions(sentence, [name, name.split()[0], "I", "my", "me", "I'm", "I've"]):
        return sentence + ending
    return f"{name}{verb} {first.lower()} {rest}".rstrip() + ending if verb else f"{name}: {sentence}{ending}"


def _mentions(sentence: str, names: Iterable[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sentence, re.IGNORECASE) for name in names)
