"""Replies for the page. The scheduler gives them, as it does for the API: both share places, limits and batches."""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Iterator, Sequence
from functools import partial

from pydantic import ValidationError

from selfsame.cards.card import Card
from selfsame.serve.chat import cut_short
from selfsame.serve.desk import Limits, failure_of
from selfsame.serve.hub import Asking, Hub
from selfsame.serve.requests import Asked, Refused
from selfsame.serve.scheduler import Busy, Event, Failed, Finished, Job, Piece, Scheduler

LONGEST_TURN = 4000
"""Characters of what a visitor types."""


class Inbox(queue.Queue[tuple[int, Event] | None]):
    """What comes of replies that were asked for: the number of the reply and its next event; None: stop."""

    def stop(self) -> None:
        """End the replies where they are. Any thread may call this, more than once."""
        self.put(None)


class Speaking:
    """Asks the models of a hub.

    Args:
        hub: the models.
        scheduler: gives their replies.
        limits: see `Limits`.
    """

    def __init__(self, hub: Hub, scheduler: Scheduler, limits: Limits) -> None:
        self.hub, self.scheduler, self.limits = hub, scheduler, limits

    @property
    def names(self) -> list[str]:
        """The models without those that are characters: the page has characters of its own."""
        return [name for name, voice in self.hub.voices.items() if voice.card is None]

    def asking(
        self, name: str, who: Card, history: Sequence[str], temperature: float | None = None, tokens: int | None = None
    ) -> Asking:
        """The next turn of a chat.

        Args:
            name: of the model.
            who: as whom it speaks.
            history: as a `Prompt` has it.
            temperature: None: the model's.
            tokens: of the longest reply; None: the model's.

        Raises:
            Refused: there is no such model, or the turns are too long.
        """
        if any(len(turn) > LONGEST_TURN for turn in history[::2]):
            raise Refused(f"a turn has more than {LONGEST_TURN} letters: shorten it")
        try:
            asked = Asked(model=name, temperature=temperature, max_tokens=tokens)
        except ValidationError as error:
            raise Refused(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error
        return self.hub.ask(self.hub.find(name), who.persona, who.lore, tuple(history), asked)

    def replies(
        self, askings: Sequence[Asking], seed: int | None = None, inbox: Inbox | None = None
    ) -> Iterator[tuple[str, ...]]:
        """The replies to all of these so far, again and again until they are whole. Who stops listening ends them.

        Args:
            askings: what is asked, a reply each.
            seed: of the sampling; None: another each time.
            inbox: its `stop` ends the replies from another thread: they are kept as far as they have come.

        Raises:
            Refused: all places are taken, or a reply failed.
        """
        inbox = inbox or Inbox()
        jobs: list[Job] = []
        texts, left = [""] * len(askings), len(askings)
        try:
            for place, asking in enumerate(askings):
                jobs.append(self._submit(asking, partial(_put, inbox, place), seed))
            while left:
                for came in _all_that_came(inbox):
                    if came is None:
                        return
                    place, event = came
                    if isinstance(event, Failed):
                        raise failure_of(event)
                    if isinstance(event, Piece):
                        texts[place] += event.text
                    elif isinstance(event, Finished):
                        texts[place] = event.text if event.reason == "stop" else cut_short(event.text)
                        left -= 1
                yield tuple(texts)
        finally:
            for job in jobs:
                self.scheduler.cancel(job)

    def whole(self, askings: Sequence[Asking], seed: int) -> tuple[str, ...]:
        """The replies to all of these.

        Raises:
            Refused: see `replies`.
        """
        texts: tuple[str, ...] = ()
        for so_far in self.replies(askings, seed):
            texts = so_far
        return texts

    def _submit(self, asking: Asking, deliver: partial[None], seed: int | None) -> Job:
        job = Job(
            roles=asking.voice.bot.roles,
            role=asking.voice.role,
            prompt=asking.ids,
            sampling=asking.sampling,
            seed=secrets.randbits(63) if seed is None else seed % 2**63,
            new_text=self.hub.text_of(asking, ()),
            deliver=deliver,
            live=True,
            deadline=time.monotonic() + self.limits.seconds,
        )
        try:
            self.scheduler.submit(job)
        except Busy:
            raise Refused("all places are taken: try again in a moment", None, 429) from None
        return job


def _put(inbox: Inbox, place: int, event: Event) -> None:
    inbox.put((place, event))


def _all_that_came(inbox: Inbox) -> Iterator[tuple[int, Event] | None]:
    yield inbox.get()
    while not inbox.empty():
        yield inbox.get()
