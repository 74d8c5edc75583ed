"""Checks of Redis or Valkey: there, new enough, keeps what it is given, on time."""

from __future__ import annotations

import time
from typing import Any

from packaging.version import InvalidVersion, Version

from cli.doctor.finding import Verdict, failed, fine, warning
from cli.doctor.place import Place
from darkroom.redis_client import redis_errors
from darkroom.worker_registry import WorkerRegistry

OLDEST_REDIS, OLDEST_VALKEY = Version("7.2"), Version("8.0")
SKEW_WARNING_SECONDS, SKEW_FAULT_SECONDS = 1.0, 5.0
FULL = 0.8  # of maxmemory


def reachable(place: Place) -> Verdict:
    with place.redis() as client, redis_errors():
        began = time.monotonic()
        client.ping()
    return fine(f"It answers in {(time.monotonic() - began) * 1_000:.0f} ms.")


def version(place: Place) -> Verdict:
    info = _info(place, "server")
    name, oldest = ("Valkey", OLDEST_VALKEY) if "valkey_version" in info else ("Redis", OLDEST_REDIS)
    text = str(info.get("valkey_version") or info.get("redis_version") or "")
    try:
        found = Version(text)
    except InvalidVersion:
        return warning(f"Its version can't be read: {text!r}.", f"Check that it is {name} {oldest} or newer.")
    if info.get("redis_mode") == "cluster":
        return failed(f"{name} {text} runs as a cluster.", "Use one server, with replicas if you like: see operations.")
    if found < oldest:
        return failed(f"{name} {text} is too old.", f"Upgrade it to {name} {oldest} or newer.")
    return fine(f"{name} {text}.")


def eviction(place: Place) -> Verdict:
    info = _info(place, "memory")
    policy = str(info.get("maxmemory_policy", ""))
    if policy != "noeviction":
        return failed(
            f"maxmemory-policy is {policy or 'unknown'}: jobs may be thrown away when memory is short.",
            "Set `maxmemory-policy noeviction` in the server's configuration, and at once by CONFIG SET.",
        )
    return fine("maxmemory-policy is noeviction.")


def memory(place: Place) -> Verdict:
    info = _info(place, "memory")
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return fine(f"{_mb(used)} are used, and no limit is set.")
    if used > FULL * limit:
        return warning(
            f"{_mb(used)} of {_mb(limit)} are used.",
            "Raise maxmemory, or shorten DARKROOM_ARCHIVE_SECONDS: at the limit no job is taken any more.",
        )
    return fine(f"{_mb(used)} of {_mb(limit)} are used.")


def append_only(place: Place) -> Verdict:
    info = _info(place, "persistence")
    if not int(info.get("aof_enabled", 0)):
        return failed(
            "The append-only file is off: a restart forgets jobs.",
            "Set `appendonly yes` and `appendfsync everysec`, and at once by CONFIG SET appendonly yes.",
        )
    return fine("The append-only file is on.")


def persistence(place: Place) -> Verdict:
    info = _info(place, "persistence")
    names = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    bad = [name for name in names if info.get(name, "ok") != "ok"]
    if bad:
        return failed(
            f"Its last write to disk failed ({', '.join(bad)}).",
            "Look at the server's log and the disk it writes to: it may be full or read-only.",
        )
    if int(info.get("aof_delayed_fsync", 0)):
        return warning(
            f"{info['aof_delayed_fsync']} writes have waited for the disk.",
            "Give the server a faster disk, or fewer neighbours on it.",
        )
    return fine("Its writes to disk succeed.")


def clock(place: Place) -> Verdict:
    with place.redis() as client, redis_errors():
        client.ping()  # the connection's own time is not the clock's
        before = time.time()
        seconds, micros = client.time()
        after = time.time()
    skew = seconds + micros / 1e6 - (before + after) / 2
    said = f"The server's clock is {abs(skew):.2f} s {'ahead of' if skew > 0 else 'behind'} this machine's."
    fix = "Run a time service (chrony, systemd-timesyncd) on both machines: links and keys expire by this clock."
    if abs(skew) - (after - before) / 2 > SKEW_FAULT_SECONDS:
        return failed(said, fix)
    if abs(skew) - (after - before) / 2 > SKEW_WARNING_SECONDS:
        return warning(said, fix)
    return fine(f"This machine's clock and the server's differ by {abs(skew) * 1_000:.0f} ms.")


def workers(place: Place) -> Verdict:
    """Whether somebody would take a ticket."""
    with place.redis() as client, redis_errors():
        alive = WorkerRegistry(client).all()
    if alive:
        tiers = sorted({tier for worker in alive for tier in worker.tiers})
        return fine(f"{len(alive)} worker(s) serve {', '.join(tiers)}.")
    if place.session is None:
        return warning("No worker has said that it is alive.", "Start one: python -m worker.")
    return failed("No worker has said that it is alive.", f"Look at the logs in {place.data / 'logs'}.")


def _info(place: Place, section: str) -> dict[str, Any]:
    with place.redis() as client, redis_errors():
        found: dict[str, Any] = client.info(section)
    return found


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
