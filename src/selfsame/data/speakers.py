"""Conversations -> dialogues: who is the bot, what the slots `{{char}}` and `{{user}}` mean, which turns cannot be used.

The bot is speaker 2 and its partner speaker 1. A name that cannot be placed sets the dialogue aside; its words never join
another's turn.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfsame.cards.macros import fill_in
from selfsame.data.names import role_of, speaker_key
from selfsame.data.persona_fields import WEAK, Personas
from selfsame.data.structure import Conversation
from selfsame.data.turns import Said
from selfsame.text.language import language_of
from selfsame.types import Dialogue, Persona, Turn, clean_persona

_SLOTS = {
    2: re.compile(r"\{\{\s*(?:char|bot|charifnotgroup)\s*\}\}|<(?:bot|char)>", re.IGNORECASE),
    1: re.compile(r"\{\{\s*user\s*\}\}|<user>", re.IGNORECASE),
}
_MACRO = re.compile(
    r"\{\{\s*(?://|(?:char|user|bot|random|pick|roll|time|date|original|newline|trim|idle)\w*\b)|<(?:bot|char|user)>",
    re.IGNORECASE,
)
_CALLED = re.compile(
    r"(?:\{\{char\}\} is called|\{\{char\}\}['’]s name is|my name is|i am called|you are called|your name is|you are|i am)"
    r" ([A-Z]\w*(?: [A-Z]\w*)?)(?=[.,!]|$)",
    re.IGNORECASE,
)
_FIRST_PERSON = ((r"['’]s\b", "my"), (r" is\b", "I am"), (r" was\b", "I was"), (r" has\b", "I have"), ("", "I"))


class UnknownBotError(ValueError):
    """Nothing says who of the speakers is the bot."""

    def __init__(self, speakers: Mapping[str, int], reason: str) -> None:
        super().__init__(reason)
        self.speakers = speakers


@dataclass(frozen=True, slots=True)
class Placed:
    """A dialogue, the name that its file gives the bot, and the turns left out: their lines by kind."""

    dialogue: Dialogue
    bot: str
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Bot:
    """What is known of the bot besides the file: a name that was asked for, one from a card, traits."""

    asked: str = ""
    card: str = ""
    persona: Persona = ()


def place(conversation: Conversation, bot: Bot, bare: bool = False) -> Placed:
    """The dialogue of a conversation. `bare`: one without a persona will do.

    Raises:
        UnknownBotError: more than one speaker may be the bot.
        ValueError: there is no persona, a speaker is unknown, or fewer than two turns are left.
    """
    conversation, bot = _by_side(conversation, bot)
    usable = [turn for turn in conversation.turns if not turn.fault]
    if conversation.numbered and (bad := next((t for t in conversation.turns if _unusable(t)), None)):
        raise ValueError(f"turn {conversation.turns.index(bad) + 1} {_unusable(bad)}")
    name, swapped = _find_bot(conversation, usable, bot)
    given = conversation.personas
    traits = (given.bot, given.partner) if swapped else (given.partner, given.bot)
    own = _own_name(name, conversation, bot, traits[1])
    partners = [*{speaker_key(turn.who): str(turn.who) for turn in usable if not _same(turn.who, name)}.values()]
    partner = partners[0] if len(partners) == 1 and _is_name(partners[0]) else conversation.user
    fill = _Fill((partner, own))
    personas = tuple([fill(trait.strip(), k) for trait in one] for k, one in enumerate(traits, start=1))
    if not any(personas[1]) and not (conversation.numbered and any(personas[0])):
        personas = (personas[0], list(bot.persona))
    turns, left_out = _make_turns(conversation, name, personas, fill, prefix=len(partners) > 1)
    if not any(personas[0] + personas[1]) and not bare:
        raise ValueError(
            "neither speaker has a persona; give the bot's with --data.persona or --data.card"
            + (
                f", or its field ({', '.join(conversation.fields)}) with --data.fields persona=..."
                * bool(conversation.fields)
            )
        )
    if len(turns) < 2:
        faults = [f"turn {k} {_unusable(t)}" for k, t in enumerate(conversation.turns, start=1) if _unusable(t)]
        why = f" ({'; '.join(faults[:2])})" if faults else ""
        raise ValueError(f"has {len(turns)} turns{why}, at least 2 are needed")
    keep = clean_persona if conversation.numbered else _once
    return Placed(Dialogue(conversation.id, (keep(personas[0]), keep(personas[1])), tuple(turns)), str(name), left_out)


def without_weak(conversation: Conversation, bot: Bot) -> Conversation:
    """A conversation whose persona stands in a field such as `description`, which may tell of anything, has none where
    one is given."""
    if not bot.persona or conversation.personas.source not in WEAK:
        return conversation
    return replace(conversation, personas=Personas(conversation.personas.partner))


def _by_side(conversation: Conversation, bot: Bot) -> tuple[Conversation, Bot]:
    """Where both sides have one name, the turns that are flagged speak as "user" and "bot"."""
    sides: dict[str, set[str]] = {}
    for turn in conversation.turns:
        sides.setdefault(speaker_key(turn.who), set()).update({turn.side} - {""})
    both = {key for key, found in sides.items() if len(found) > 1}
    if not both:
        return conversation, bot
    name = next(str(turn.who) for turn in conversation.turns if speaker_key(turn.who) in both)
    turns = [replace(t, who=t.side) if t.side and speaker_key(t.who) in both else t for t in conversation.turns]
    asked = "bot" if speaker_key(bot.asked) in both else bot.asked
    return replace(conversation, turns=tuple(turns), bot=conversation.bot or name), replace(bot, asked=asked)


def _once(traits: Sequence[str]) -> Persona:
    """Clean traits, each once."""
    return tuple(dict.fromkeys(clean_persona([*traits])))


# --- who is the bot


def _find_bot(conversation: Conversation, usable: Sequence[Said], bot: Bot) -> tuple[Any, bool]:
    """(name of the bot as the turns have it, whether the personas of the speakers 1 and 2 change places)."""
    spelled: dict[str, Any] = {}
    for turn in usable:
        spelled.setdefault(speaker_key(turn.who), turn.who)
    counts = Counter(spelled[speaker_key(turn.who)] for turn in usable)
    names = list(counts)
    for asked in (bot.asked, conversation.bot, bot.card):
        found = [name for name in names if asked and _same(name, asked)]
        if found:
            return found[0], conversation.numbered and role_of(found[0]) == "user"
        if asked and asked == bot.asked:
            raise UnknownBotError(_shown(counts), f"{asked!r} says nothing; the speakers are {_listed(counts)}")
    sides: dict[str, list[Any]] = {"bot": [], "user": [], "": []}
    flagged = {turn.who: turn.side for turn in usable if turn.side}
    for name in names:
        sides[flagged.get(name) or _role(name, () if conversation.numbered else names)].append(name)
    unknown = sides[""]
    if unknown and conversation.numbered:
        number = next(k for k, turn in enumerate(conversation.turns, start=1) if turn.who in unknown)
        raise UnknownBotError(
            _shown(counts), f"turn {number} has the unknown speaker {unknown[0]!r:.60}; use 1 or 2 (or user and bot)"
        )
    if len(names) > 2 or len(sides["bot"]) > 1 or len(sides["user"]) > 1:
        raise UnknownBotError(
            _shown(counts), f"has {len(names)} speakers, {_listed(counts)}; say who is the bot: --data.bot NAME"
        )
    if len(unknown) == 2 or (unknown and len(names) == 1):
        raise UnknownBotError(_shown(counts), f"does not say who is the bot, {_listed(counts)}; give --data.bot NAME")
    if sides["bot"]:
        return sides["bot"][0], False
    return (unknown[0] if unknown else ""), False


def _role(name: Any, names: Sequence[Any]) -> str:
    """The side that a name tells; numbers tell it only if the speakers are 1 and 2."""
    if name in ("first", "second"):
        return "bot" if name == "second" else "user"
    if str(name).isdecimal() and not {str(n) for n in names} <= {"1", "2"}:
        return ""
    role = role_of(name)
    return role if role in ("bot", "user") else ""


def _same(name: Any, other: Any) -> bool:
    return speaker_key(name) == speaker_key(other)


def _listed(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{str(name)!r} ({count} turns)" for name, count in counts.items())


def _shown(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(name): count for name, count in counts.items()}


def _is_name(name: Any) -> bool:
    return bool(name) and not role_of(name) and name not in ("first", "second") and not str(name).isdecimal()


def _own_name(name: Any, conversation: Conversation, bot: Bot, traits: Sequence[str]) -> str:
    """How the bot is called; "" where nothing says so."""
    if _is_name(name):
        return str(name)
    if conversation.bot and not role_of(conversation.bot):
        return conversation.bot
    called = next((found[1] for trait in traits if (found := _CALLED.search(trait.strip()))), "")
    return bot.card or (called if called[:1].isupper() else "")


# --- turns


def _unusable(turn: Said) -> str:
    """Why a turn cannot be used; "" if it can."""
    if turn.fault:
        return turn.fault
    if re.search("[\ud800-\udfff]", turn.text):
        return "holds half a surrogate pair, which is no character"
    return "" if turn.text.strip() else "has no text"


def _make_turns(
    conversation: Conversation, bot: Any, personas: Sequence[list[str]], fill: _Fill, prefix: bool
) -> tuple[list[Turn], dict[str, int]]:
    """The turns that can be used, and how many could not, by kind. `prefix`: partners are told apart by name."""
    left_out: Counter[str] = Counter(conversation.left_out)
    turns: list[Turn] = []
    for number, said in enumerate(conversation.turns, start=1):
        speaker = 2 if _same(said.who, bot) and bot != "" else 1
        text = fill(said.text, speaker).strip()
        fault = _unusable(said) or ("" if text else "has no text")
        if fault:
            left_out[_kind(fault)] += 1
            continue
        if prefix and speaker == 1:
            text = f"{said.who}: {text}"
        turns.append(Turn(speaker, text, _indices(said.traits, number, personas[speaker - 1], conversation.numbered)))
    return turns, dict(left_out)


def _kind(fault: str) -> str:
    """A fault as it is counted: "without text", "of 'tool'"."""
    words = fault.split(":")[0].replace("has no ", "without ").replace("is not a text", "without text")
    return words.removeprefix("is ")


def _indices(traits: Any, number: int, persona: Sequence[str], exact: bool) -> tuple[int, ...] | None:
    """The annotation of a turn, counted among the traits that are left."""
    if traits is None:
        return None
    kept = [k for k, trait in enumerate(persona) if trait]
    if not isinstance(traits, (list, tuple)) or not all(type(k) is int and k in kept for k in traits):
        raise ValueError(f"turn {number} uses traits {traits!r:.60}, allowed are indices from {kept}")
    if exact:
        return tuple(kept.index(k) for k in traits)
    clean = [" ".join(trait.split()) for trait in persona]
    once = list(dict.fromkeys(filter(None, clean)))
    return tuple(dict.fromkeys(once.index(clean[k]) for k in traits))


# --- slots


@dataclass(frozen=True, slots=True)
class _Fill:
    """Fills the slots of role-play texts, `{{char}}` and `{{user}}`.

    Where a name is unknown, whoever speaks is "I" and the other is "you", or nothing where only called. `names`: of the
    speakers 1 and 2; "" where unknown.
    """

    names: tuple[str, str]

    def __call__(self, text: str, speaker: int) -> str:
        """A trait of `speaker`, or what `speaker` says."""
        if not _MACRO.search(text):
            return text
        own, other = self.names[speaker - 1], self.names[2 - speaker]
        for ending, word in _FIRST_PERSON if not own else [("", own)]:
            text = re.sub(f"(?:{_SLOTS[speaker].pattern}){ending}", lambda _, w=word: w, text, flags=re.IGNORECASE)
        text = re.sub(r"^my\b", "My", text)
        text = _SLOTS[3 - speaker].sub(lambda _: other or "{{user}}", text)
        return fill_in(text, other, language_of(text) or "en")
