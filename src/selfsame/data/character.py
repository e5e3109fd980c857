"""A character card, chats of that character and other people's talk -> dialogues of the character, to train and to evaluate on.

A card brings a few example dialogues at most. The rest is made: a dialogue of the bundled ones stays as people led it
wherever the speaker says nothing of a persona, and where somebody does, the partner asks about a trait of the card
instead, which is the answer. The questions of the evaluation are about other traits than those of training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from selfsame.cards.card import Card
from selfsame.errors import DataError
from selfsame.text.keywords import content_stems
from selfsame.text.questions import question_about
from selfsame.types import Dialogue, Persona, Turn

_Asked = tuple[str, tuple[int, ...]]
"""A question, and the traits that answer it."""
_OWN, _TALK = 0.8, 0.5
"""Shares for training: of the character's own dialogues, which are few, and of what is made."""


@dataclass(frozen=True)
class CharacterData:
    """Dialogues of one character. `own`, `own_held_out`: those of either part that the character spoke itself, which come first
    there; `notes`: where all are from, a line each."""

    train: list[Dialogue]
    validation: list[Dialogue]
    own: list[Dialogue]
    own_held_out: list[Dialogue]
    notes: list[str]

    def by_its_own(self) -> CharacterData:
        """To learn how the character speaks: what it spoke itself, evaluated on what it spoke and as many made dialogues."""
        # All 285 made ones beside 15 of its own asked "What is your name?" and "Who are you?" in 15 of 16 prompts.
        return replace(self, train=self.own, validation=self.validation[: max(20, 2 * len(self.own_held_out))])


def character_data(card: Card, persona: Persona, chats: Sequence[Dialogue], talk: Sequence[Dialogue]) -> CharacterData:
    """The dialogues of a character, in two parts by what is said in them.

    Args:
        card: who it is, with example dialogues and greetings.
        persona: the traits that fit into the context of the model.
        chats: dialogues of that character; speaker 2 is the character.
        talk: annotated dialogues of other people, in English.

    Raises:
        DataError: the card is in another language than the talk, and neither it nor the chats bring enough dialogues.
    """
    examples = [Dialogue(f"example-{k}", ((), persona), turns) for k, turns in enumerate(card.examples, 1)]
    own = [*examples, *(replace(dialogue, personas=(dialogue.personas[0], persona)) for dialogue in chats)]
    train, validation = _parted(own, _OWN)
    spoken, held_out = [*train], [*validation]
    notes = [f"dialogues of the character: {len(examples)} from the card, {len(chats)} from chats"]
    if card.language == "en":
        asked = _questions(persona)
        for part, questions, dialogues in zip((train, validation), _halves(asked), _parted(talk, _TALK), strict=True):
            part += [made for dialogue in dialogues for made in _as_character(dialogue, card, persona, questions)]
        made = len(train) + len(validation) - len(own)
        notes.append(f"made from the bundled dialogues: {made}, with {len(asked)} questions about the traits")
    elif not (train and validation):
        raise DataError(
            f"the card of {card.name!r:.60} is in the language {card.language!r}, and the bundled dialogues are in English:"
            f" give chats of the character (it has {len(own)} dialogues, ten are enough), or talk to it untrained with"
            " selfsame chat --card"
        )
    return CharacterData(train, validation, spoken, held_out, notes)


def _as_character(dialogue: Dialogue, card: Card, persona: Persona, asked: Sequence[_Asked]) -> Iterator[Dialogue]:
    """Dialogues of the character from one of other people: each stretch that says nothing of a persona, and questions after it,
    since what followed spoke of what is not said now."""
    for speaker in (1, 2):
        side = dialogue.seen_by(speaker)
        stretch: list[Turn] = []
        stretches = [stretch]
        for partner, reply, traits in zip(side.turns[::2], side.replies, side.traits, strict=True):
            if traits or traits is None or not partner or _is_about(side.persona, reply):
                stretch = []
                stretches.append(stretch)
            else:
                stretch += [Turn(1, partner), Turn(2, reply, ())]
        for number, turns in enumerate(filter(None, stretches)):
            name = f"{dialogue.id}-{speaker}-{number}"
            yield Dialogue(name, ((), persona), (*_greeting(card, name), *turns, *_answers(asked, persona, name)))


def _greeting(card: Card, name: str) -> list[Turn]:
    """One of the card's greetings, before every second dialogue."""
    greetings = [text for text in (card.first_message, *card.greetings) if text]
    chosen = _digest(name)
    return [Turn(2, greetings[chosen // 2 % len(greetings)], ())] if greetings and chosen % 2 else []


def _answers(asked: Sequence[_Asked], persona: Persona, name: str) -> Iterator[Turn]:
    """Two questions with what the traits say to them."""
    for k in range(min(2, len(asked))):
        question, traits = asked[(_digest(name) + k) % len(asked)]
        yield from (Turn(1, question), Turn(2, " ".join(persona[trait] for trait in traits), traits))


def _is_about(persona: Persona, reply: str) -> bool:
    """Whether a reply holds a word of a persona."""
    return not {*content_stems(reply)}.isdisjoint(stem for trait in persona for stem in content_stems(trait))


def _questions(persona: Persona) -> list[_Asked]:
    """Each question about a trait, with all traits that answer it."""
    found: dict[str, list[int]] = {}
    for k, trait in enumerate(persona):
        if question := question_about(trait):
            found.setdefault(question, []).append(k)
    return [(question, tuple(traits)) for question, traits in found.items()]


def _halves(asked: Sequence[_Asked]) -> tuple[list[_Asked], list[_Asked]]:
    """Questions for training and for evaluation; the same ones where there is only one."""
    order = sorted(asked, key=lambda item: _digest(item[0]))
    return (order[::2], order[1::2]) if len(order) > 1 else (order, order)


def _parted(dialogues: Iterable[Dialogue], share: float) -> tuple[list[Dialogue], list[Dialogue]]:
    """About `share` of them, and the rest, by what was said: one more or less moves no other."""
    parts: tuple[list[Dialogue], list[Dialogue]] = ([], [])
    for dialogue in dialogues:
        parts[_digest(repr([turn.text for turn in dialogue.turns])) % 100 >= 100 * share].append(dialogue)
    return parts


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()[:4], "big")
