"""A TCP proxy before Redis that carries commands out and loses some of their replies."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self


class LossyProxy:
    """Forwards to a port of this machine; the next `lose(n)` replies to EVALSHA never arrive."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._losses = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._stopped = False

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def left(self) -> int:
        """Losses still to come."""
        return self._losses

    def lose(self, replies: int) -> None:
        with self._lock:
            self._losses = replies

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stopped = True
        with socket.create_connection(("127.0.0.1", self.port)):  # wakes accept
            pass
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._stopped:
                client.close()
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """One request, one reply at a time, as redis-py speaks."""
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            while request := client.recv(1 << 20):
                server.sendall(request)
                reply = server.recv(1 << 20)
                if b"EVALSHA" in request and self._take_loss():
                    return
                client.sendall(reply)

    def _take_loss(self) -> bool:
        with self._lock:
            if self._losses == 0:
                return False
            self._losses -= 1
            return True
