"""A server of a tiny model for tests: its hub, the app, and a live one on a free port of this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import httpx
from fastapi.testclient import TestClient
from test_roles import load, scramble

from selfsame.cards.card import make_card
from selfsame.config import load_config
from selfsame.model.roles import Roles
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve.api import make_app
from selfsame.serve.chatbot import Chatbot
from selfsame.serve.desk import Limits
from selfsame.serve.hub import Hub, Voice
from selfsame.serve.server import Server, bind
from selfsame.types import Prompt

MIKA = make_card(
    {
        "name": "Mika",
        "description": "I fix clocks. I live by the sea.",
        "first_mes": "Oh, a visitor!",
        "character_book": {"entries": [{"keys": ["storm"], "content": "I lost a boat in the storm."}]},
    }
)
PLAIN, TALKER = "tiny:base", "tiny:sft"
CHARACTER = "tiny:sft@mika"
APART: WeakKeyDictionary[Hub, Roles] = WeakKeyDictionary()
"""The same roles again: those of a hub are its scheduler's, which may be in the middle of a step."""


def tiny_hub(folder: Any, most_tokens: int | None = None) -> Hub:
    """The base, a role, and a character of a tiny model. The role `reward` chooses among replies."""
    roles = _roles(folder)
    bot = Chatbot(roles, "sft", load_config(values={"model": {"base": str(folder)}}), "tiny", True, None, "sft")
    voices = [Voice(PLAIN, bot, None), Voice(TALKER, bot, "sft"), Voice(CHARACTER, bot, "sft", MIKA)]
    hub = Hub(voices, most_tokens)
    APART[hub] = _roles(folder)
    return hub


def _roles(folder: Any) -> Roles:
    roles = load(folder)
    for seed, role in enumerate(("sft", "reward"), 1):
        roles.add(role)
        scramble(roles, role, seed)
    return roles


def engine_reply(hub: Hub, model: str, prompt: Prompt, seed: int = 0, best_of: int = 1, **sampling: Any) -> str:
    """What the project's engine answers, alone and without a server."""
    voice, roles = hub.voices[model], APART[hub]
    settings = SamplingSettings(**{"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 8} | sampling)
    return RolloutEngine(roles).reply(voice.role, [prompt], settings, seed, best_of=best_of)[0]


def asked(text: str = "Hi.", model: str = TALKER, **more: Any) -> dict[str, Any]:
    """A request for a greedy reply of eight tokens."""
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": 8} | more


@contextlib.contextmanager
def client_of(app: Any):
    """Calls an app in this process."""
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client
    app.state.scheduler.join(10)


@dataclass
class Live:
    """A server that listens."""

    port: int
    app: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def scheduler(self) -> Any:
        return self.app.state.scheduler

    def send(self, raw: bytes, seconds: float = 20) -> bytes:
        """What it answers to bytes, until it closes the connection or says nothing more for a second."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(raw)
            found = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                while part := connection.recv(65536):
                    found += part
                    connection.settimeout(1)
            return found

    def idle(self, seconds: float = 30) -> bool:
        """Whether nothing is under way any more, soon."""
        until = time.monotonic() + seconds
        while self.scheduler.running() or self.scheduler.waiting():
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True


@contextlib.contextmanager
def live(hub: Hub, limits: Limits | None = None, page: Callable[[Any], None] = lambda app: None, **more: Any):
    """A server in a thread. `page` adds to the app."""
    import uvicorn

    app = make_app(hub, limits, **more)
    page(app)
    bound = bind("127.0.0.1", 0)
    server = Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Live(bound.getsockname()[1], app)
    finally:
        server.should_exit = True
        thread.join(30)
        app.state.scheduler.join(10)
    assert not thread.is_alive()


def chunks(text: str) -> list[dict[str, Any]]:
    """The events of a stream; it has to end properly."""
    events = [line.removeprefix("data: ") for line in text.split("\n") if line]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def streamed_text(events: list[dict[str, Any]], index: int = 0) -> str:
    """The text of one reply in a stream."""
    own = [c for e in events for c in e["choices"] if c["index"] == index]
    return "".join(c["delta"].get("content", "") if "delta" in c else c["text"] for c in own)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    error = response.json()["error"]
    assert {*error} == {"message", "type", "param", "code"} and error["message"] and "\n" not in error["message"]
    return error
