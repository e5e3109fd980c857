"""Numbers for Prometheus: what was asked and answered, how long it took, how many tokens. No text, and no name of a user."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from selfsame.serve.scheduler import Job, Scheduler

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120)


class ServerMetrics:
    """The numbers of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("selfsame_requests", "Answered requests.", ["path", "status"], registry=self.registry)
        self._tokens = Counter("selfsame_tokens", "Tokens.", ["kind"], registry=self.registry)
        self._replies = Counter("selfsame_chats", "Chats.", ["end"], registry=self.registry)
        self._first = self._histogram("selfsame_first_token_seconds", "From a request to its first token.")
        self._whole = self._histogram("selfsame_reply_seconds", "From a request to the end of its replies.")

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, buckets=_SECONDS, registry=self.registry)

    def watch(self, scheduler: Scheduler) -> None:
        """Shows how busy a scheduler is."""
        for name, text, read in (
            ("selfsame_replies_running", "Replies under way.", scheduler.running),
            ("selfsame_chats_waiting", "Chats that wait for a place.", scheduler.waiting),
            ("selfsame_kept_prefix_bytes", "Memory of known prompts.", lambda: scheduler.kept.size),
        ):
            Gauge(name, text, registry=self.registry).set_function(read)

    def answered(self, path: str, status: int) -> None:
        """Counts an answer. `path`: of the route, so that it has few values."""
        self._requests.labels(path, str(status)).inc()

    def ended(self, job: Job) -> None:
        """Counts a job that has its replies, or whose client has left."""
        self._replies.labels("left" if job.gone else "answered").inc()
        for kind, count in (("prompt", len(job.prompt)), ("reused", job.reused), ("reply", job.sampled)):
            self._tokens.labels(kind).inc(count)
        if job.first_token and not job.gone:
            self._first.observe(job.first_token - job.began)
            self._whole.observe(time.monotonic() - job.began)

    def text(self) -> bytes:
        """All numbers in Prometheus' format."""
        return generate_latest(self.registry)
