"""A hub on this machine: the two endpoints that a download needs, as the hub answers them, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
MODEL = "acme/Tiny-Diffusion"
WEIGHTS = bytes(range(256)) * 4_000
FILES: Mapping[str, bytes] = {
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "README.md": b"# Tiny\n",
    "model_index.json": b'{"_class_name": "StableDiffusionXLPipeline"}',
    "tiny.safetensors": b"the whole checkpoint once more",
    "unet/config.json": b'{"in_channels": 4, "sample_size": 32}',
    "unet/diffusion_pytorch_model.safetensors": WEIGHTS,
    "unet/diffusion_pytorch_model.fp16.safetensors": WEIGHTS[: len(WEIGHTS) // 2],
    "unet/diffusion_pytorch_model.bin": b"a pickle",
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.safetensors": WEIGHTS[:5_000],
    "vae/diffusion_pytorch_model.onnx": b"another format",
}
_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class Hub:
    """What the server does, and what was asked of it."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    card: dict[str, Any] = field(default_factory=lambda: {"license": "other", "license_name": "acme-open"})
    break_after: list[int] = field(default_factory=list)  # bytes of each next answer, then the line drops
    ranges: bool = True
    token: str | None = None
    damaged: set[str] = field(default_factory=set)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)  # path, range, authorization

    def listing(self) -> dict[str, Any]:
        siblings = [self._sibling(path, data) for path, data in self.files.items()]
        return {"id": MODEL, "sha": COMMIT, "cardData": self.card, "tags": [], "siblings": siblings}

    def _sibling(self, path: str, data: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        large = path.endswith((".safetensors", ".bin", ".onnx"))
        return {"rfilename": path, "size": len(data), "blobId": blob} | ({"lfs": lfs} if large else {})


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((path, self.headers.get("Range"), self.headers.get("Authorization")))
            if hub.token and path.startswith("/api") and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._answer(401, b"{}")
            elif path in {f"/api/models/{MODEL}/revision/{COMMIT}", f"/api/models/{MODEL}/revision/main"}:
                self._answer(200, json.dumps(hub.listing()).encode())
            elif path.startswith(f"/{MODEL}/resolve/{COMMIT}/"):
                name = path.removeprefix(f"/{MODEL}/resolve/{COMMIT}/")
                if name.endswith(".safetensors"):  # large files lie elsewhere, as on the hub
                    self._answer(302, b"", {"Location": f"/lfs/{name}"})
                else:
                    self._file(name)
            elif path.startswith("/lfs/"):
                self._file(path.removeprefix("/lfs/"))
            else:
                self._answer(404, b"{}")

        def _file(self, name: str) -> None:
            data = hub.files[name]
            data = bytes(reversed(data)) if name in hub.damaged else data
            asked = _RANGE.fullmatch(self.headers.get("Range") or "") if hub.ranges else None
            start = int(asked[1]) if asked else 0
            limit = hub.break_after.pop(0) if hub.break_after and name.endswith(".safetensors") else None
            self._answer(206 if asked else 200, data[start:], limit=limit)

        def _answer(
            self, status: int, body: bytes, headers: Mapping[str, str] | None = None, *, limit: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:limit])
            if limit is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
