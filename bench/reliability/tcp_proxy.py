"""A TCP proxy that can refuse, slow down, answer 500, cut uploads, or go deaf without a word."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from enum import Enum

CHUNK = 1 << 16
SLOW_SECONDS = 1.0  # before each chunk of a request
CUT_BYTES = 600  # of a request that pass before it is cut: its head, and a little of an image
REPLY_500 = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Mode(Enum):
    """What the proxy does with what it is sent."""

    PASS = "pass"  # noqa: S105 - a mode
    REFUSE = "refuse"
    SLOW = "slow"
    ERROR = "error"
    CUT = "cut"
    DEAF = "deaf"  # connections stay open, and no byte moves on them ever again


class TcpProxy:
    """Forwards to one port of this machine."""

    def __init__(self, target: int) -> None:
        self.mode = Mode.PASS
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: Mode) -> None:
        """Change what happens to requests; one that refuses also breaks the connections that are open."""
        self.mode = mode
        if mode is Mode.REFUSE:
            with self._lock:
                doomed = list(self._open)
            for each in doomed:
                _reset(each)

    def close(self) -> None:
        self._listener.close()
        self.set(Mode.REFUSE)

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            if self.mode is Mode.REFUSE:
                _reset(caller)
            else:
                threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _reset(caller)
            return
        deaf = threading.Event()
        with self._lock:
            self._open |= {caller, server}
        back = threading.Thread(target=self._pump_back, args=(server, caller, deaf), daemon=True)
        back.start()
        self._pump(caller, server, deaf)
        back.join()
        with self._lock:
            self._open -= {caller, server}
        for each in (caller, server):
            each.close()

    def _pump(self, caller: socket.socket, server: socket.socket, deaf: threading.Event) -> None:
        passed = 0
        with suppress(OSError):
            while data := caller.recv(CHUNK):
                if self.mode is Mode.DEAF:
                    deaf.set()
                if deaf.is_set():
                    continue
                if self.mode is Mode.ERROR:
                    caller.sendall(REPLY_500)
                    break
                if self.mode is Mode.CUT:
                    room = max(CUT_BYTES - passed, 0)
                    server.sendall(data[:room])
                    passed += len(data)
                    if passed > CUT_BYTES:
                        _reset(caller)
                        break
                    continue
                if self.mode is Mode.SLOW:
                    time.sleep(SLOW_SECONDS)
                server.sendall(data)
        for each in (server, caller):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _pump_back(self, server: socket.socket, caller: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(CHUNK):
                if self.mode is Mode.DEAF:
                    deaf.set()
                if not deaf.is_set():
                    caller.sendall(data)
        if not deaf.is_set():
            with suppress(OSError):
                caller.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    """End a connection at once, as a crash would, whatever is still on its way."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        connection.close()
