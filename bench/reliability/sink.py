"""A webhook receiver that misbehaves at random: no answer, 500, 429, a cut connection; one of its addresses is gone."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SILENT_SECONDS = 4.0  # longer than a delivery waits
GONE = "/gone"


@dataclass(frozen=True)
class Received:
    """One delivery as it came in, and what the sink answered; 0 stands for nothing."""

    path: str
    headers: dict[str, str]
    body: bytes
    answered: int

    @property
    def job(self) -> str:
        return str(json.loads(self.body)["data"]["job_id"])

    @property
    def event(self) -> str:
        return self.headers["webhook-id"]


class Sink:
    """An HTTP server on a free port of this machine."""

    def __init__(self, chance: random.Random, *, faulty: float) -> None:
        """`faulty` is the share of the deliveries that meet a fault."""
        self.received: list[Received] = []
        self.faulty = faulty
        self._random = chance
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def taken(self) -> list[Received]:
        """Deliveries that were answered with success."""
        with self._lock:
            return [each for each in self.received if each.answered == 204]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer_to(self, path: str) -> int:
        """The status of the next answer."""
        with self._lock:
            if path == GONE:
                return 410
            return self._random.choice((0, 500, 429, -1)) if self._random.random() < self.faulty else 204

    def note(self, received: Received) -> None:
        with self._lock:
            self.received.append(received)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status = sink.answer_to(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                sink.note(Received(self.path, headers, body, max(status, 0)))
                if status == 0:
                    time.sleep(SILENT_SECONDS)
                if status <= 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing; what came in is in `received`."""

        return Handler
