"""The server's process: address, token, and an end within two seconds."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from selfsame.errors import ConfigError

TOKEN_VARIABLE = "SELFSAME_TOKEN"
LEAST_TOKEN = 16
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_GRACE = 2
"""Seconds in which replies that were cut are sent."""
_CONNECTIONS = 256
"""Connections at once, and requests under way."""


class Server(uvicorn.Server):
    """A server that cuts the replies under way before it waits for their connections.

    Args:
        config: of uvicorn.
        ready: called when it listens.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: Any = None) -> None:
        """Ends it."""
        app: Any = self.config.app
        for end in app.state.at_end:
            end()
        await super().shutdown(sockets)


def is_local(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def token_for(host: str) -> tuple[str, bool]:
    """(the token that requests have to bring, whether it was made now). On this machine alone none is needed.

    Raises:
        ConfigError: the one in the environment is too short.
    """
    given = os.environ.get(TOKEN_VARIABLE, "").strip()
    if given and (len(given) < LEAST_TOKEN or not given.isascii() or any(map(str.isspace, given))):
        raise ConfigError(f"{TOKEN_VARIABLE} is too short, or has other than ASCII letters: give {LEAST_TOKEN} or more")
    if given or is_local(host):
        return given, False
    return secrets.token_urlsafe(24), True


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 takes a free one.

    Raises:
        ConfigError: it cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        return bound
    except socket.gaierror as error:
        raise ConfigError(f"--host {host} is no address of this machine: give 127.0.0.1 or 0.0.0.0") from error
    except OSError as error:
        taken = f"port {port} is taken: choose another with --port, or 0 for a free one"
        reason = taken if error.errno == errno.EADDRINUSE else f"cannot listen on {host}:{port} ({error.strerror})"
        raise ConfigError(reason) from error


def address_of(bound: socket.socket) -> str:
    """The URL of the API at a socket."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def serve(app: Any, bound: socket.socket, ready: Callable[[], None]) -> None:
    """Serves an app until Ctrl-C or SIGTERM; then a reply under way is cut and sent. `ready` is called when it listens.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # a line of it names what was asked for
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_GRACE,
        limit_concurrency=_CONNECTIONS,
        h11_max_incomplete_event_size=2**16,
        ws="none",
    )
    try:
        Server(config, ready).run(sockets=[bound])
    finally:
        app.state.scheduler.close()
        app.state.scheduler.join(_GRACE)
