"""The app: the OpenAI API over the models of a hub. A page can be mounted in the same app."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException

from selfsame.serve.desk import Desk, Json, Limits, failure_of
from selfsame.serve.gate import OPEN, Gate, Receive, Scope, Send
from selfsame.serve.hub import Hub
from selfsame.serve.metrics import ServerMetrics
from selfsame.serve.requests import ChatRequest, CompletionRequest, Refused
from selfsame.serve.responses import model_object
from selfsame.serve.scheduler import Failed, Scheduler

_KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_ERROR = {
    "description": "What is wrong, and what to do.",
    "content": {"application/json": {"schema": {"type": "object", "required": ["error"]}}},
}
_ANSWER = {"description": "A reply, whole or as server-sent events.", "content": {"text/event-stream": {}}}
_ASKED: dict[int | str, dict[str, Any]] = {
    200: _ANSWER,
    **dict.fromkeys((400, 401, 404, 408, 413, 429, 500, 503), _ERROR),
}


def make_app(
    hub: Hub,
    limits: Limits | None = None,
    token: str = "",
    hosts: Collection[str] = (),
    larger: Mapping[str, int] = {},
) -> FastAPI:
    """The app over the models of a hub. `app.state.scheduler` gives the replies; it ends with the app.
    What is in `app.state.at_end` is called before the server waits for its connections.

    Args:
        hub: the models.
        limits: see `Limits`.
        token: that every request but `/health` has to bring; empty: none.
        hosts: names that requests may call the server by; empty: all.
        larger: paths of a page in the same app whose bodies may hold more bytes than those limits say.
    """
    limits, metrics = limits or Limits(), ServerMetrics()
    scheduler = Scheduler(limits.places, limits.waiting, limits.kept_bytes, metrics.ended)
    metrics.watch(scheduler)
    desk = Desk(hub, scheduler, limits)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        scheduler.close()

    # No pages of documentation: they load scripts from elsewhere.
    app = FastAPI(title="Selfsame", lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.scheduler, app.state.at_end = scheduler, [scheduler.close]
    most = {"most_bytes": limits.most_bytes, "seconds": limits.body_seconds, "larger": larger}
    app.add_middleware(Gate, token=token, hosts=hosts, **most)
    app.add_middleware(_Counting, metrics=metrics)
    _handle_errors(app)

    @app.post("/v1/chat/completions", responses=_ASKED, response_model=None)
    async def chat(request: Request, body: ChatRequest) -> Response:
        return await desk.answer(request, body, hub.read_chat)

    @app.post("/v1/completions", responses=_ASKED, response_model=None)
    async def complete(request: Request, body: CompletionRequest) -> Response:
        return await desk.answer(request, body, hub.read_text)

    @app.get("/v1/models")
    async def models() -> Any:
        return Json({"object": "list", "data": [model_object(hub, voice) for voice in hub.voices.values()]})

    @app.get("/v1/models/{name:path}", responses={404: _ERROR})
    async def model(name: str) -> Any:
        return Json(model_object(hub, hub.find(name)))

    @app.get(OPEN)
    async def health() -> Any:
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def numbers() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    return app


class _Counting:
    """Counts the answers of an app by route and status."""

    def __init__(self, app: Any, metrics: ServerMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.metrics.answered(getattr(scope.get("route"), "path", "other"), message["status"])
            await send(message)

        await self.app(scope, receive, counted)


def _handle_errors(app: FastAPI) -> None:
    """Errors in OpenAI's shape."""

    async def refused(request: Request, error: Any) -> Response:
        return Json(error.body, error.status, error.headers)

    async def invalid(request: Request, error: Any) -> Response:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))
        if first["type"] == "json_invalid" or not place:
            return await refused(request, Refused(f"the body is no request in JSON: {first['msg']}"))
        return await refused(request, Refused(f"{place}: {first['msg']}", place))

    async def http(request: Request, error: Any) -> Response:
        kind = _KINDS.get(error.status_code, "invalid_request_error")
        closing = {"Connection": "close"} if error.status_code in (408, 413) else {}
        headers = {**(error.headers or {}), **closing}
        return await refused(request, Refused(str(error.detail), None, error.status_code, kind, headers=headers))

    async def broken(request: Request, error: Any) -> Response:
        return await refused(request, failure_of(Failed(late=False)))

    for kind, handler in (
        (Refused, refused),
        (RequestValidationError, invalid),
        (HTTPException, http),
        (Exception, broken),
    ):
        app.add_exception_handler(kind, handler)
