"""What stands before the app: who may come in, by which name, and how much a body may hold."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from selfsame.serve.requests import Refused

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
OPEN = "/health"
"""The one path that needs no token."""
LARGEST_CARD = 32_000_000
"""Bytes of a card that is dropped on the page."""
UPLOADS = {"/gradio_api/upload": LARGEST_CARD + 100_000}
"""Paths of the page that take larger bodies than the API."""


class Gate:
    """Lets requests through to an app that bring the token, name a host that this server has, and are small enough. The length
    that a request claims is not believed: its bytes are counted.

    Args:
        app: what is behind it.
        token: that each request has to bring, but for `/health`; empty: none.
        hosts: names that requests may call this server by (a page in a browser may have a name that leads here); empty: all.
        most_bytes: of a body.
        seconds: in which a body has to be there.
        larger: paths whose bodies may hold as many bytes instead.
    """

    def __init__(
        self,
        app: Any,
        token: str,
        hosts: Collection[str],
        most_bytes: int,
        seconds: float,
        larger: Mapping[str, int] = {},
    ) -> None:
        self.app, self.hosts, self.most_bytes, self.seconds = app, frozenset(hosts), most_bytes, seconds
        self.larger = dict(larger)
        self._wanted = f"Bearer {token}".encode() if token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        refused = self._refused(scope)
        if refused is not None:
            headers = {**refused.headers, "Connection": "close"}  # what is left of the body is not read
            return await JSONResponse(refused.body, refused.status, headers)(scope, receive, send)
        await self.app(scope, self._counted(receive, self._most(scope)), send)

    def _refused(self, scope: Scope) -> Refused | None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, value)
        if self.hosts and host_of(headers.get(b"host", b"")) not in self.hosts:
            return Refused("this server is not called by that host name", code="unknown_host")
        given = headers.get(b"authorization", b"")
        if self._wanted and scope["path"] != OPEN and not secrets.compare_digest(given, self._wanted):
            known = {"WWW-Authenticate": "Bearer"}
            return Refused("give the server's token as API key", None, 401, code="invalid_api_key", headers=known)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._most(scope):
            return _too_large(self._most(scope))
        return None

    def _most(self, scope: Scope) -> int:
        return self.larger.get(scope["path"], self.most_bytes)

    def _counted(self, receive: Receive, most: int) -> Receive:
        """`receive` with an end to what a body may hold and how long it may take."""
        left, until, is_whole = most, time.monotonic() + self.seconds, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal left, is_whole
            if is_whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            except asyncio.TimeoutError:
                raise HTTPException(408, f"the body was not there within {self.seconds:g} seconds") from None
            left -= len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, _too_large(most).message)
            return message

        return counted


def _too_large(most: int) -> Refused:
    return Refused(f"the body has more than {most} bytes: send less", None, 413)


def host_of(header: bytes) -> str:
    """The name in a Host header, without its port."""
    name = header.decode("latin-1").strip().lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
