"""Character cards of the chat world -> a persona to talk to, and back.

A card comes from anywhere: everything in it is text and stays text, whatever control markers it holds. Prompts are
made from it where all text is escaped (`data/processor.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsame.cards.examples import read_examples, without_examples
from selfsame.cards.fields import Entry, Fields, fields_of
from selfsame.cards.files import FORMS, read_mapping
from selfsame.cards.macros import NEUTRAL_NAME, fill_in, mentions_user
from selfsame.cards.traits import Wording, make_traits, once, worded
from selfsame.errors import DataError
from selfsame.types import Persona, Turn, clean_persona

CHAT_USES = ("name", "description", "personality", "scenario", "first_mes", "character_book")
"""The fields that a chat uses."""
TRAINING_USES = (*CHAT_USES, "mes_example", "alternate_greetings")
"""The fields that training and chatting use."""

MAX_NAME_LENGTH = 200
"""Characters; the name stands wherever a text of the card has `{{char}}`."""


@dataclass(frozen=True, slots=True)
class Lore:
    """Traits that hold when one of the keys occurs in the last turns, and one of `also`, if there are any."""

    keys: tuple[str, ...]
    traits: Persona
    also: tuple[str, ...] = ()
    case_sensitive: bool = False

    def is_about(self, text: str) -> bool:
        """Whether the text calls for these traits. A key of letters with spaces between words is found as a whole word."""
        return self._any(self.keys, text) and (not self.also or self._any(self.also, text))

    def sample(self) -> tuple[str, ...]:
        """A few words that call for these traits."""
        return (*self.keys[:1], *self.also[:1])

    def _any(self, keys: Iterable[str], text: str) -> bool:
        flags = re.UNICODE if self.case_sensitive else re.IGNORECASE
        return any(
            re.search(rf"(?<!\w){re.escape(k)}(?!\w)" if k.isascii() else re.escape(k), text, flags) for k in keys
        )


@dataclass(frozen=True, slots=True)
class Card:
    """Who a card describes, how that person opens the conversation ("" = not), and the scene.

    Attributes:
        name: of the character.
        persona: all traits, the most important ones first: name, personality, description, scene, lore that always holds.
        first_message: the greeting.
        scenario: the scene as text; its sentences are in the persona too.
        greetings: other greetings.
        examples: example dialogues; speaker 1 is the partner, 2 the character.
        lore: traits that hold when their keys are mentioned.
        fields: the card as it was written.
        set_aside: example dialogues of more than two speakers.
    """

    name: str
    persona: Persona
    first_message: str = ""
    scenario: str = ""
    greetings: tuple[str, ...] = ()
    examples: tuple[tuple[Turn, ...], ...] = ()
    lore: tuple[Lore, ...] = ()
    language: str = "en"
    fields: Fields = field(default_factory=lambda: Fields(""), repr=False)
    set_aside: int = 0

    def not_used(self, used: Sequence[str] = CHAT_USES) -> str:
        """What of the card is not used where only the fields `used` are; one line, empty where all is."""
        card = self.fields
        left = {
            "mes_example": _counted(len(self.examples), "example dialogue"),
            "alternate_greetings": _counted(len(self.greetings), "alternate greeting"),
            "system_prompt": f"system prompt ({len(card.system_prompt)} characters)"
            if card.system_prompt.strip()
            else "",
            "post_history_instructions": f"post-history instructions ({len(card.last_instruction)} characters)"
            if card.last_instruction.strip()
            else "",
            "character_book": _counted(len(self.lore), "lorebook entry", "lorebook entries"),
        }
        parts = [text for name, text in left.items() if text and name not in used]
        if card.unread_entries:
            parts.append(f"{_counted(card.unread_entries, 'lorebook entry', 'lorebook entries')} without plain keys")
        if self.set_aside:
            parts.append(f"{_counted(self.set_aside, 'example dialogue')} of more than two speakers")
        elif card.examples.strip() and not self.examples:
            parts.append(f"example dialogues without speakers ({len(card.examples)} characters)")
        return f"not used of the card: {', '.join(parts)}" if parts else ""

    def user_name(self) -> str:
        """What the one who talks to the character is called, where the card names that person and the language has no word that
        fits everywhere; empty elsewhere."""
        card = self.fields
        texts = (card.description, card.personality, card.scenario, card.greeting, card.examples)
        called = self.language not in ("en", "zh", "ja", "ko") and any(map(mentions_user, texts))
        return NEUTRAL_NAME if called else ""


def _counted(count: int, one: str, many: str = "") -> str:
    return "" if not count else f"1 {one}" if count == 1 else f"{count} {many or f'{one}s'}"


def read_card(path: str | Path) -> Card:
    """The card in a file: JSON or YAML of any dialect, a picture (PNG) or a CHARX archive with a card in it.

    Raises:
        DataError: with one line: what is wrong, and what a card is.
    """
    return make_card(read_mapping(Path(path)), str(path))


def make_card(card: Mapping[str, Any], source: str = "card") -> Card:
    """The card that a mapping holds, in any dialect: `make_card({"name": "Pavel", "description": "I bake."})`.

    Raises:
        DataError: it has no name, or says nothing of the character. `source` is named there.
    """
    fields = fields_of(card)
    if not fields.name:
        known = ", ".join(list(map(str, card))[:6]) or "none"
        raise DataError(
            f'{source}: the card has no name (its fields: {known}); expected {{"name": ..., "description": ...}}, flat or'
            " under data"
        )
    name = fields.name
    if len(name) > MAX_NAME_LENGTH:
        raise DataError(f"{source}: the name has {len(name)} characters; at most {MAX_NAME_LENGTH} are allowed")
    description, examples = without_examples(fields.description)
    traits = make_traits(name, description, fields.personality)
    if len(traits) < 2:  # the name alone says nothing
        raise DataError(f"{source}: the card of {name!r:.60} has neither a description nor a personality; add one")
    wording = Wording(name, f"{description}\n{fields.personality}")
    scenario = fill_in(fields.scenario, name, wording.language).strip()
    always = [
        line for entry in fields.book if entry.constant for line in worded(wording, entry.content, labelled=False)
    ]
    dialogues, set_aside = read_examples(f"{fields.examples}\n<START>\n{examples}", name, wording.language)
    return Card(
        name=name,
        persona=once([*traits, *wording.scene(scenario), *always]),
        first_message=fill_in(fields.greeting, name, wording.language).strip(),
        scenario=scenario,
        greetings=tuple(fill_in(text, name, wording.language).strip() for text in fields.greetings),
        examples=dialogues,
        lore=tuple(_lore(entry, wording) for entry in fields.book if not entry.constant),
        language=wording.language,
        fields=fields,
        set_aside=set_aside,
    )


def read_persona(persona: Sequence[str] | str | Path) -> tuple[Persona, str]:
    """(traits, what the bot says first) of a list of sentences or of a character card.

    Raises:
        DataError: the persona is empty, or the card cannot be used.
    """
    card = read_character(persona)
    return card.persona, card.first_message


def read_character(persona: Sequence[str] | str | Path | Card) -> Card:
    """A card from its file, or one without a name from a list of sentences.

    Raises:
        DataError: the persona is empty, or the card cannot be used.
    """
    if isinstance(persona, Card):
        return persona
    if isinstance(persona, (str, Path)):
        if isinstance(persona, str) and " " in persona and not Path(persona).exists():
            raise DataError(f"{persona!r:.60} is not a file: give a list of sentences, or the path of a card ({FORMS})")
        return read_card(persona)
    traits = clean_persona([*persona])
    if not traits:
        raise DataError("the persona is empty: give at least one trait, such as 'I have two dogs.'")
    return Card("", traits)


def _lore(entry: Entry, wording: Wording) -> Lore:
    keys, also = (tuple(fill_in(k, wording.name, wording.language) for k in part) for part in (entry.keys, entry.also))
    return Lore(keys, once(worded(wording, entry.content, labelled=False)), also, entry.case_sensitive)
