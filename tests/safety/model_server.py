"""A real HTTP server that speaks the chat-completions call, well or badly, for the guard and the rewriter."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Behaviour = Callable[["Handler"], None]


@dataclass
class ModelServer:
    """Where it listens, how it behaves, and what it was asked."""

    url: str
    behaviour: Behaviour
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """One request: notes it, then behaves as the test said."""

    protocol_version = "HTTP/1.1"
    model: ModelServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.model.asked.append(json.loads(body))
        self.model.headers.append(dict(self.headers))
        self.model.paths.append(self.path)
        with suppress(OSError):
            self.model.behaviour(self)

    def send_body(self, body: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def says(text: str, *, finish_reason: str = "stop") -> Behaviour:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    body = json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]}).encode()
    return lambda handler: handler.send_body(body)


def sends(body: bytes, **options: Any) -> Behaviour:
    return lambda handler: handler.send_body(body, **options)


def drips(handler: Handler) -> None:
    """A byte now and then, for ever: no single read is slow."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def cuts(handler: Handler) -> None:
    """Goes away in the middle of the body."""
    handler.send_body(b'{"choices": [', length=5_000)
    handler.connection.shutdown(socket.SHUT_RDWR)


def babbles(handler: Handler) -> None:
    """Answers with something that is not HTTP."""
    handler.wfile.write(b"220 mail ready\r\n\r\n")
    handler.close_connection = True


@contextmanager
def model_server(behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> Iterator[ModelServer]:
    handler = type("BoundHandler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    handler.model = ModelServer(f"{scheme}://127.0.0.1:{server.server_port}/v1", behaviour)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield handler.model
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
