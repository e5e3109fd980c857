"""What stands before the page: the token as a cookie, answers to this page alone, and what the browser may load."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from selfsame.page.markup import markup, style
from selfsame.serve.gate import OPEN, Receive, Scope, Send

COOKIE = "selfsame"
ENTER = "/enter"
"""Where the form with the token is sent to."""
_API = ("/v1/", "/metrics", "/openapi.json", OPEN)
_LONGEST_FORM = 4096
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none';"
    " base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""gradio needs inline scripts; no policy lets anything be loaded from elsewhere."""
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


class Streams:
    """The answers of the page that are under way: gradio keeps one open as long as somebody looks at the page."""

    def __init__(self) -> None:
        self._open: set[asyncio.Task[Any]] = set()
        self.ended = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Counts the present task among them."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            yield
        finally:
            self._open.discard(task)

    def end(self) -> None:
        """Ends them, so that the server does not wait for anybody's page."""
        self.ended = True
        for task in [*self._open]:
            task.cancel()


class Door:
    """Lets visitors of the page in, and leaves the API to its gate.

    Args:
        app: what is behind it.
        token: of the server; empty: none.
        streams: the answers under way.
    """

    def __init__(self, app: Any, token: str, streams: Streams) -> None:
        self.app, self.token, self.streams = app, token, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_api(scope["path"]):
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        send = _guarded(send)
        if scope["method"] not in ("GET", "HEAD") and _is_foreign(headers):
            return await PlainTextResponse("another page may not do this", 403)(scope, receive, send)
        if self.token and not headers.get("authorization"):
            answer = await self._login(scope, receive, headers)
            if answer is not None:
                return await answer(scope, receive, send)
            scope = {**scope, "headers": [*scope["headers"], (b"authorization", f"Bearer {self.token}".encode())]}
        try:
            with self.streams.watching():
                await self.app(scope, receive, send)
        except asyncio.CancelledError:
            if not self.streams.ended:
                raise
            with contextlib.suppress(RuntimeError):  # it had not begun, or was whole
                await send({"type": "http.response.body", "body": b""})

    async def _login(self, scope: Scope, receive: Receive, headers: Mapping[str, str]) -> Response | None:
        """None where the visitor has the cookie."""
        if _same(_cookie(headers), self._session):
            return None
        if scope["path"] == ENTER and scope["method"] == "POST":
            return self._entered(await _form(receive))
        if scope["method"] != "GET":
            return PlainTextResponse("open the page and give the token", 401)
        given = _only(scope["query_string"].decode("latin-1"))
        return self._entered(given) if given or scope["path"] == "/" else PlainTextResponse("no token", 401)

    def _entered(self, given: str) -> Response:
        if not _same(given, self.token):
            wrong = bool(given)
            return HTMLResponse(markup("enter.html.j2", action=ENTER, wrong=wrong).replace("/*style*/", style()), 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self._session, httponly=True, samesite="strict", path="/")
        return answer

    @property
    def _session(self) -> str:
        """What the cookie holds: the token cannot be found from it."""
        return hmac.new(self.token.encode(), b"selfsame page", hashlib.sha256).hexdigest()


def is_api(path: str) -> bool:
    """Whether a path is one of the API."""
    return path == "/v1" or path.startswith(_API)


def _guarded(send: Send) -> Send:
    async def guarded(message: Any) -> None:
        if message["type"] == "http.response.start":
            own = {name.lower() for name, _ in message["headers"]}
            kept = [(name, value) for name, value in _HEADERS.items() if name not in own]
            message = {**message, "headers": [*message["headers"], *kept]}
        await send(message)

    return guarded


def _is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a page of another server."""
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())


def _only(query: str) -> str:
    """The token in a query or a form."""
    try:
        return parse_qs(query[:_LONGEST_FORM], max_num_fields=20).get("token", [""])[0]
    except ValueError:
        return ""


async def _form(receive: Receive) -> str:
    body = b""
    while len(body) <= _LONGEST_FORM:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return _only(body.decode("latin-1"))
    return ""
