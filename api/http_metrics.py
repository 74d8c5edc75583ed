"""Counts, times and logs every request by its route's template, never by its path, which holds ids.

Query strings are not logged anywhere: a signed link's right to fetch is in its query.
"""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom.logs import get_logger
from darkroom.metrics import Metrics

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset({"/livez", "/readyz", "/metrics"})
log = get_logger(__name__)


class HttpMetrics:
    """Middleware that observes requests."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 499  # stays when the caller hangs up before the answer
        long_by_wish = False

        async def watch(message: Message) -> None:
            nonlocal status, long_by_wish
            if message["type"] == "http.response.start":
                status, long_by_wish = message["status"], _is_long_by_wish(message)
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            self._observe(scope, status, time.perf_counter() - started, long_by_wish=long_by_wish)

    def _observe(self, scope: Scope, status: int, seconds: float, *, long_by_wish: bool) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = str(getattr(scope.get("route"), "path", "unmatched"))
        self._metrics.http_requests.labels(method, route, str(status)).inc()
        if not long_by_wish:
            self._metrics.http_time.labels(method, route).observe(seconds)
        level = log.debug if route in PROBES else log.info
        level("http_request", method=method, route=route, status=status, seconds=round(seconds, 4))


def _is_long_by_wish(start: Message) -> bool:
    """Whether the caller asked to wait (`Prefer: wait`), or listens to a stream: neither says how fast the API is."""
    headers = dict(start.get("headers", ()))
    return b"preference-applied" in headers or headers.get(b"content-type", b"").startswith(b"text/event-stream")
