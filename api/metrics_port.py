"""Keeps `/metrics` on a port of its own: there nothing else is served, and elsewhere it does not exist.

One process listens on both ports, so the figures are those of the process that served the requests.
"""

from __future__ import annotations

import socket

from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem_response

PATH = "/metrics"
BACKLOG = 2_048


class MetricsPort:
    """Middleware that looks at the port a request came in by."""

    def __init__(self, app: ASGIApp, *, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (_port_of(scope) == self._port) != (scope["path"] == PATH):
            missing = problem_response(
                scope, status=404, code="not_found", detail="There is nothing at this path on this port."
            )
            await missing(scope, receive, send)
            return
        await self._app(scope, receive, send)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises `OSError` where the address can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _port_of(scope: Scope) -> int | None:
    server = scope.get("server")
    return server[1] if server else None
