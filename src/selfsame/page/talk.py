"""A talk on the page: one or two systems answer the same turns, each with its own replies in mind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from selfsame.cards.card import Card
from selfsame.errors import ConfigError
from selfsame.page.marks import Seen, look_at
from selfsame.page.markup import markup
from selfsame.page.speaking import Inbox, Speaking
from selfsame.types import Persona, clean_persona

NOBODY = Card("", ())
MOST_TRAITS, LONGEST_PERSONA = 200, 20_000
"""Lines and letters of a persona that is typed."""
_seen = lru_cache(maxsize=2048)(look_at)


@dataclass(frozen=True)
class Exchange:
    """A turn of the visitor, what these systems replied, and the persona that they had."""

    said: str
    systems: tuple[str, ...]
    replies: tuple[str, ...]
    persona: Persona

    def reply(self, system: str) -> str:
        """What a system replied; the first reply where it was not asked."""
        return dict(zip(self.systems, self.replies, strict=True)).get(system, self.replies[0])


@dataclass(frozen=True)
class Talk:
    """A talk so far.

    Attributes:
        who: the card, or nobody; its greeting opens the talk.
        systems: who answers next, the first on the left.
        exchanges: what was said.
        writing: whether the last reply is not whole yet.
    """

    who: Card = NOBODY
    systems: tuple[str, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    writing: bool = False

    def history(self, system: str, before: int | None = None) -> tuple[str, ...]:
        """The turns as one system knows them, as a `Conversation` has them."""
        opening = ("", self.who.first_message) if self.who.first_message else ()
        said = [(e.said, e.reply(system)) for e in self.exchanges[:before]]
        return (*opening, *(text for pair in said for text in pair))

    def last(self) -> Exchange:
        """The last exchange.

        Raises:
            ConfigError: nothing was said yet.
        """
        if not self.exchanges:
            raise ConfigError("nothing was said yet")
        return self.exchanges[-1]

    def without_last(self) -> Talk:
        """The talk before the last exchange."""
        self.last()
        return replace(self, exchanges=self.exchanges[:-1], writing=False)

    def html(self) -> str:
        """The talk with its marks."""
        named = len({name for exchange in self.exchanges for name in exchange.systems}) > 1
        return markup("talk.html.j2", talk=self, named=named, rows=[self._row(k) for k in range(len(self.exchanges))])

    def _row(self, number: int) -> tuple[str, list[tuple[str, Seen]]]:
        exchange = self.exchanges[number]
        unsure = self.writing and number == len(self.exchanges) - 1
        shown = []
        for system, reply in zip(exchange.systems, exchange.replies, strict=True):
            history = (*self.history(system, number), exchange.said)
            shown.append((system, Seen([[reply, ""]]) if unsure else _seen(exchange.persona, history, reply)))
        return exchange.said, shown


@dataclass(frozen=True)
class Manner:
    """How replies are sampled; None: as the model does."""

    temperature: float | None = None
    tokens: int | None = None


def as_written(who: Card, traits: str) -> Card:
    """The card with the traits as they stand in the page, a line each.

    Raises:
        ConfigError: there are too many.
    """
    lines = traits.splitlines()
    if len(lines) > MOST_TRAITS or len(traits) > LONGEST_PERSONA:
        raise ConfigError(f"the persona has {len(lines)} lines and {len(traits)} letters: shorten it to"
                          f" {MOST_TRAITS} and {LONGEST_PERSONA}")  # fmt: skip
    return replace(who, persona=clean_persona(lines))


def say(
    speaking: Speaking, talk: Talk, text: str, manner: Manner = Manner(), inbox: Inbox | None = None
) -> Iterator[Talk]:
    """The talk with one more exchange, again and again while the replies grow.

    Raises:
        ConfigError: there is nothing to answer.
        Refused: it cannot be answered.
    """
    text = text.strip()
    if not text:
        raise ConfigError("type something first")
    askings = [
        speaking.asking(name, talk.who, (*talk.history(name), text), manner.temperature, manner.tokens)
        for name in talk.systems
    ]
    empty = Exchange(text, talk.systems, ("",) * len(askings), talk.who.persona)
    grown = replace(talk, exchanges=(*talk.exchanges, empty), writing=True)
    yield grown
    for replies in speaking.replies(askings, inbox=inbox):
        grown = replace(grown, exchanges=(*talk.exchanges, replace(empty, replies=replies)))
        yield grown
    yield replace(grown, writing=False)


def again(speaking: Speaking, talk: Talk, manner: Manner = Manner(), inbox: Inbox | None = None) -> Iterator[Talk]:
    """The talk with another sample of the last replies.

    Raises:
        ConfigError: nothing was said yet, or the reply would be the same.
        Refused: it cannot be answered.
    """
    if manner.temperature == 0:
        raise ConfigError("at temperature 0 the reply is always the same: choose a higher one to try again")
    return say(speaking, talk.without_last(), talk.last().said, manner, inbox)


def chosen(systems: Sequence[str | None]) -> tuple[str, ...]:
    """The systems that are chosen, each once."""
    return tuple(dict.fromkeys(name for name in systems if name))
