"""Answers to requests, whole or as a stream, from what the scheduler brings."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from selfsame.serve.gate import Receive, Scope, Send
from selfsame.serve.hub import Asking, Hub
from selfsame.serve.requests import Asked, ChatRequest, Refused
from selfsame.serve.responses import DONE, Shape, failed_event
from selfsame.serve.scheduler import Busy, Event, Failed, Finished, Job, Piece, Scheduler

_RETRY = {"Retry-After": "2"}


@dataclass(frozen=True)
class Limits:
    """What a server gives at the most.

    Attributes:
        places: replies under way at once.
        waiting: requests that may wait for a place.
        seconds: that a request may take; then its reply is cut.
        most_bytes: of a request's body.
        body_seconds: in which a body has to be there.
        kept_bytes: memory for what is known of prompts.
    """

    places: int = 16
    waiting: int = 64
    seconds: float = 120.0
    most_bytes: int = 2**20
    body_seconds: float = 20.0
    kept_bytes: int = 2**28


class Json(JSONResponse):
    """JSON in ASCII: half a surrogate pair has no UTF-8."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


class EventStream(StreamingResponse):
    """Server-sent events. `left` is called at the end, also where the client has left before it."""

    def __init__(self, events: AsyncIterator[bytes], headers: dict[str, str], left: Callable[[], None]) -> None:
        known = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers | known, media_type="text/event-stream")
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left()


class Inbox:
    """Brings what happens to a job from the scheduler's thread to the event loop."""

    def __init__(self) -> None:
        self._loop, self._queue = asyncio.get_running_loop(), asyncio.Queue[Event | None]()

    def deliver(self, event: Event) -> None:
        """Called by the scheduler."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)

    async def next(self) -> Event | None:
        """What happened next; None: the client has left."""
        return await self._queue.get()

    async def watch(self, request: Request) -> None:
        """Waits until the client leaves."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self._queue.put_nowait(None)


class Desk:
    """Answers requests.

    Args:
        hub: the models.
        scheduler: gives their replies.
        limits: see `Limits`.
    """

    def __init__(self, hub: Hub, scheduler: Scheduler, limits: Limits) -> None:
        self.hub, self.scheduler, self.limits = hub, scheduler, limits

    async def answer(self, request: Request, asked: Asked, read: Callable[[Any], Asking]) -> Response:
        """The answer to a request.

        Raises:
            Refused: it cannot be answered.
        """
        began, ignored = time.monotonic(), asked.ignored()
        asking = await asyncio.to_thread(read, asked)
        headers = {"X-Selfsame-Ignored": ", ".join(ignored)} if ignored else {}
        if asking.left_out:
            headers["X-Selfsame-Left-Out"] = f"{asking.left_out} traits, which do not fit into the context"
        inbox = Inbox()
        job = self._job(asked, asking, inbox, began)
        shape = Shape(asking.voice.name, isinstance(asked, ChatRequest), len(asking.ids))
        if asking.opening:
            job.sampled = job.wanted * self.hub.count(asking.voice, asking.opening)
            for index in range(job.wanted):
                inbox.deliver(Finished(index, asking.opening, asking.opening, "stop"))
        else:
            self._submit(job)
        if asked.stream:
            return EventStream(
                self._stream(job, inbox, shape, asked.usage_streamed), headers, lambda: self.scheduler.cancel(job)
            )
        return await self._whole(request, job, inbox, shape, headers)

    def _job(self, asked: Asked, asking: Asking, inbox: Inbox, began: float) -> Job:
        wanted = asked.n or 1
        count = wanted if asked.best_of is None else asked.best_of
        if count < wanted:
            raise Refused(f"best_of is {count} and n is {wanted}: ask for at least as many", "best_of")
        if count > self.limits.places:
            raise Refused(f"{count} replies are asked for: this server gives {self.limits.places} at once", "n")
        bot = asking.voice.bot
        return Job(
            roles=bot.roles,
            role=asking.voice.role,
            prompt=asking.ids,
            sampling=asking.sampling,
            seed=(secrets.randbits(63) if asked.seed is None else asked.seed) % 2**64,
            new_text=self.hub.text_of(asking, asked.stops),
            deliver=inbox.deliver,
            count=count,
            wanted=wanted,
            rank=self.hub.ranking(asking, wanted) if asked.best_of is not None and not asking.opening else None,
            live=bool(asked.stream),
            deadline=began + self.limits.seconds,
            began=began,
        )

    def _submit(self, job: Job) -> None:
        try:
            self.scheduler.submit(job)
        except Busy:
            raise Refused(
                "all places are taken, and the waiting line is full: try again in a moment",
                None,
                429,
                "rate_limit_error",
                "rate_limit_exceeded",
                _RETRY,
            ) from None

    async def _whole(self, request: Request, job: Job, inbox: Inbox, shape: Shape, headers: dict[str, str]) -> Response:
        watch = asyncio.create_task(inbox.watch(request))
        replies: list[Finished] = []
        try:
            while len(replies) < job.wanted:
                event = await inbox.next()
                if event is None:
                    return Response(status_code=499)  # nobody reads it
                if isinstance(event, Failed):
                    raise failure_of(event)
                if isinstance(event, Finished):
                    replies.append(event)
        finally:
            watch.cancel()
            self.scheduler.cancel(job)
        return Json(shape.whole(replies, job.sampled, job.reused), headers=headers)

    async def _stream(self, job: Job, inbox: Inbox, shape: Shape, usage: bool) -> AsyncIterator[bytes]:
        if shape.is_chat:
            for index in range(job.wanted):
                yield shape.begin(index)
        left = job.wanted
        while left:
            event = await inbox.next()
            if isinstance(event, Piece):
                yield shape.piece(event.index, event.text)
            elif isinstance(event, Finished):
                if event.rest:
                    yield shape.piece(event.index, event.rest)
                yield shape.end(event.index, event.reason)
                left -= 1
            elif isinstance(event, Failed):
                yield failed_event(failure_of(event))
                break
        if usage and not left:
            yield shape.usage(job.sampled, job.reused)
        yield DONE


def failure_of(event: Failed) -> Refused:
    """What a client is told of a reply that failed."""
    if event.late:
        return Refused(
            "no place was free in time: try again in a moment", None, 503, "server_error", "overloaded", _RETRY
        )
    return Refused("the reply failed in the server, whose log says more", None, 500, "server_error")
