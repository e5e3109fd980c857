"""Replies to many people at once: one thread owns the models, and between any two tokens replies join and leave its batches.

The roles of a model, and several models, take turns.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from selfsame.model.roles import Roles
from selfsame.rollout.prefixes import KeptPrefixes
from selfsame.rollout.sampler import reply_noise
from selfsame.rollout.settings import SamplingSettings
from selfsame.rollout.slots import SlotReply, Slots
from selfsame.serve.reply_text import ReplyText

_TURN = 4
"""Tokens that a role samples before the next one has its turn, where several are asked for."""
_LONG_TURN = 64
"""Tokens that a role samples at a time, where nobody else asks: to put an adapter in force takes as long as some of them."""
LOG = logging.getLogger("selfsame.serve")


class Busy(Exception):
    """No place is free, and the waiting line is full."""


@dataclass(frozen=True)
class Piece:
    """More text of a reply."""

    index: int
    text: str


@dataclass(frozen=True)
class Finished:
    """The end of a reply.

    Attributes:
        index: which of the replies.
        text: all of it.
        rest: what no piece has brought.
        reason: "stop" where the reply ended by itself or at a stop string, "length" where it was cut.
    """

    index: int
    text: str
    rest: str
    reason: str


@dataclass(frozen=True)
class Failed:
    """There is no reply. `late`: no place became free in time; else something broke."""

    late: bool


Event = Piece | Finished | Failed


@dataclass(eq=False)
class Job:
    """Replies to one prompt that somebody waits for.

    Attributes:
        roles, role: who speaks.
        prompt: token ids.
        sampling: limit, temperature, nucleus.
        seed: of the random numbers; a reply's depend on it and on the reply's index alone.
        new_text: makes the text of a reply.
        deliver: is given what happens, in the scheduler's thread.
        count: replies that are sampled.
        wanted: replies that are asked for.
        rank: of all replies (token ids), the indices of the wanted ones, the best first; None: all are wanted.
        live: whether pieces are wanted.
        deadline: of `time.monotonic`; what is not finished then is cut.
    """

    roles: Roles
    role: str | None
    prompt: list[int]
    sampling: SamplingSettings
    seed: int
    new_text: Callable[[], ReplyText]
    deliver: Callable[[Event], None]
    count: int = 1
    wanted: int = 1
    rank: Callable[[list[list[int]]], list[int]] | None = None
    live: bool = False
    deadline: float = float("inf")
    began: float = field(default_factory=time.monotonic)
    first_token: float = 0.0  # when it was there
    sampled: int = 0
    reused: int = 0
    gone: bool = False

    @property
    def end_id(self) -> int:
        return self.roles.processor.end_id


@dataclass(eq=False)
class _Row:
    """One reply of a job."""

    job: Job
    index: int
    reply: SlotReply
    text: ReplyText
    ended: Finished | None = None


@dataclass(eq=False)
class _Lane:
    """The batch of a role."""

    slots: Slots
    arrived: list[Job] = field(default_factory=list)
    rows: dict[SlotReply, _Row] = field(default_factory=dict)
    done: dict[Job, list[_Row]] = field(default_factory=dict)  # the ended replies of jobs that have others under way

    @property
    def busy(self) -> bool:
        return bool(self.arrived or self.rows)


class Scheduler:
    """Gives jobs their replies, in the order in which they come.

    Args:
        places: replies under way at once.
        waiting: jobs that may wait for a place.
        kept_bytes: memory for what is known of prompts.
        ended: is told of each job that has its replies.
    """

    def __init__(
        self,
        places: int = 16,
        waiting: int = 64,
        kept_bytes: int = 2**28,
        ended: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self.places, self.most_waiting, self.ended = places, waiting, ended
        self.kept = KeptPrefixes(kept_bytes)
        self._line: deque[Job] = deque()
        self._lanes: dict[Any, _Lane] = {}
        self._changed, self._stopping = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="selfsame-scheduler", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Puts a job into the line.

        Raises:
            Busy: the line is full, or the server is about to end.
        """
        with self._changed:
            free = self.places - self.running() if not self._line else 0
            if self._stopping or (len(self._line) >= self.most_waiting and job.count > free):
                raise Busy
            self._line.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Forgets a job: nobody waits for it. Does nothing to one that has its replies."""
        job.gone = True
        with self._changed:
            if job in self._line:
                self._line.remove(job)

    def running(self) -> int:
        """Replies under way, or about to be."""
        return sum(len(lane.rows) + sum(job.count for job in lane.arrived) for lane in [*self._lanes.values()])

    def waiting(self) -> int:
        """Jobs in the line."""
        return len(self._line)

    def close(self) -> None:
        """Cuts the replies under way, refuses those that wait, and ends the thread soon."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self, seconds: float) -> None:
        """Waits for the end of the thread."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping:
            with self._changed:
                while not (self._stopping or self._line or self._busy()):
                    self._changed.wait()
                late = self._admit()
            for job in late:
                job.deliver(Failed(late=True))
            for lane in self._busy():
                self._turn(lane)
        for lane in self._busy():
            lane.arrived, waiting = [], lane.arrived
            self._line.extend(waiting)
            self._turn(lane)
        for job in self._line:
            job.deliver(Failed(late=True))

    def _busy(self) -> list[_Lane]:
        return [lane for lane in self._lanes.values() if lane.busy]

    def _admit(self) -> list[Job]:
        """Gives free places to the first of the line; returns the jobs that waited too long."""
        now = time.monotonic()
        late = [job for job in self._line if job.deadline <= now]
        for job in late:
            self._line.remove(job)
        while self._line and self._line[0].count <= self.places - self.running():
            job = self._line.popleft()
            key = (id(job.roles), job.role)
            if key not in self._lanes:
                self._lanes[key] = _Lane(Slots(job.roles, job.role, self.kept))
            self._lanes[key].arrived.append(job)
        return late

    def _turn(self, lane: _Lane) -> None:
        try:
            with lane.slots.turn():
                self._begin(lane)
                for step in range(1, 1 + (_TURN if len(self._busy()) > 1 else _LONG_TURN)):
                    for reply in lane.slots.sample():
                        self._look_at(lane, lane.rows[reply])
                    lane.slots.advance()
                    # Who comes waits for some tokens of the others, so that prompts meet: they cost less together.
                    if not lane.rows or (step % _TURN == 0 and (lane.done or self._line)):
                        break
            self._answer(lane)
        except Exception:  # whatever breaks, the other roles and later jobs are to have their replies
            LOG.exception("a batch of replies failed")
            jobs = {*lane.arrived, *lane.done, *(row.job for row in lane.rows.values())}
            for key in [key for key, other in self._lanes.items() if other is lane]:
                del self._lanes[key]
            for job in jobs:
                job.deliver(Failed(late=False))

    def _begin(self, lane: _Lane) -> None:
        """Puts the replies of those who arrived into the batch, all at once."""
        fresh: list[_Row] = []
        for job in lane.arrived:
            sampling, count = job.sampling, 0 if job.gone else job.count
            for index, uniform_R in enumerate(reply_noise(job.seed, 0, range(count), sampling.max_new_tokens)):
                reply = SlotReply(job.prompt, uniform_R, sampling.temperature, sampling.top_p)
                fresh.append(_Row(job, index, reply, job.new_text()))
        lane.rows.update({row.reply: row for row in fresh})
        lane.arrived = []
        lane.slots.join([row.reply for row in fresh])
        for row in fresh:
            row.job.reused = row.job.reused if row.index else row.reply.reused

    def _look_at(self, lane: _Lane, row: _Row) -> None:
        """Says what the last token of a reply brings, and lets the reply go if it was the last."""
        job, reply, now = row.job, row.reply, time.monotonic()
        job.first_token = job.first_token or now
        ended = reply.ids[-1] == job.end_id
        over = ended or len(reply.ids) == len(reply.uniform_R) or self._stopping or now >= job.deadline
        more = ""
        if over or (not job.gone and (job.live or row.text.stops)):
            more = row.text.grow(reply.ids, over)
        if row.text.stopped or over or job.gone:
            row.ended = Finished(row.index, row.text.text, more, "stop" if ended or row.text.stopped else "length")
            lane.slots.leave(reply, keep=row.index == 0)
            del lane.rows[reply]
            lane.done.setdefault(job, []).append(row)
            job.sampled += len(reply.ids)
            if job.rank is None and not job.gone:
                job.deliver(row.ended)
        elif more and job.live and job.rank is None:
            job.deliver(Piece(row.index, more))

    def _answer(self, lane: _Lane) -> None:
        """Ends the jobs whose replies have all ended."""
        for job, rows in [(job, rows) for job, rows in lane.done.items() if len(rows) == job.count]:
            if job.rank is not None and not job.gone:
                self._choose(job, sorted(rows, key=lambda row: row.index))
            del lane.done[job]
            self.ended(job)

    def _choose(self, job: Job, rows: list[_Row]) -> None:
        """Delivers the best of a job's replies. A reward, which may be the user's own function, fails for this job alone."""
        assert job.rank is not None
        try:
            best = job.rank([row.reply.ids for row in rows])[: job.wanted]
        except Exception:
            LOG.exception("replies could not be ranked")
            job.deliver(Failed(late=False))
            return
        for place, index in enumerate(best):
            found = rows[index].ended
            assert found is not None
            job.deliver(Finished(place, found.text, found.text, found.reason))
