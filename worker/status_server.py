"""The worker's HTTP port: `/metrics` for Prometheus, `/healthz` for a liveness probe.

A worker that drains is healthy; one that must be replaced is not, and says why. Reading neither touches Redis.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from darkroom.errors import ConfigurationError
from darkroom.metrics import Metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Health = Callable[[], str | None]


def serve_status(host: str, port: int, *, metrics: Metrics, health: Health) -> None:
    """Serve on a daemon thread.

    Args:
        health: tells what is wrong with the process, or None.

    Raises:
        ConfigurationError: when the address can't be listened on.
    """
    try:
        server = make_server(
            host, port, status_app(metrics, health), server_class=ThreadingWSGIServer, handler_class=_Quiet
        )
    except OSError as error:
        raise ConfigurationError(f"the metrics can't be served on {host}:{port}: {error.strerror}") from error
    threading.Thread(target=server.serve_forever, name="status", daemon=True).start()


def status_app(metrics: Metrics, health: Health) -> WSGIApplication:
    """Both pages; whatever is not `/healthz` gets the metrics."""
    metrics_app: Any = make_wsgi_app(metrics.registry)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/healthz":
            answer: Iterable[bytes] = metrics_app(environ, start_response)
            return answer
        reason = health()
        body = {"status": "ok"} if reason is None else {"status": "failing", "reason": reason}
        start_response(
            "200 OK" if reason is None else "503 Service Unavailable", [("Content-Type", "application/json")]
        )
        return [json.dumps(body).encode()]

    return app


class _Quiet(WSGIRequestHandler):
    """Writes no line a request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
        """Nothing: probes come every few seconds."""
