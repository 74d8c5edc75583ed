"""The audit log on a real Valkey: chained, sealed in segments, and broken by whatever is changed."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest
import redis

from darkroom.audit import AUDIT, AsyncAuditLog, AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.errors import AuditBroken
from darkroom.lua_scripts import make_script
from darkroom.object_store import LocalObjectStore
from darkroom.redis_client import make_async_redis
from darkroom.settings import RedisSettings

HASH = make_script("hash", "-- Needs: audit_chain\nreturn sha256(ARGV[1])")


@pytest.fixture
def log(redis_client: redis.Redis) -> AuditLog:
    return AuditLog(redis_client)


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path, public_url="http://127.0.0.1", secret=b"a secret of tests")


@pytest.fixture
def segments(log: AuditLog, objects: LocalObjectStore) -> AuditSegments:
    return AuditSegments(log, objects)


def note(log: AuditLog, times: int) -> None:
    for number in range(times):
        log.append("ann", "review.read", f"job_{number}", {"note": f"line\n{number} ü"})


@pytest.mark.parametrize("length", [0, 1, 55, 56, 63, 64, 65, 119, 500])
def test_the_scripts_digest_is_sha256(redis_client: redis.Redis, length: int) -> None:
    text = ("aé\n7" * length)[:length]

    assert redis_client.eval(HASH.text, 0, text) == hashlib.sha256(text.encode()).hexdigest()


def test_a_log_that_nobody_changed_verifies(log: AuditLog, segments: AuditSegments) -> None:
    note(log, 5)

    verified = segments.verify()

    assert (verified.entries, verified.head) == log.head()
    assert [entry.subject for entry in segments.entries()] == [f"job_{number}" for number in range(5)]
    assert json.loads(next(segments.entries()).details) == {"note": "line\n0 ü"}


def test_an_empty_log_verifies(segments: AuditSegments) -> None:
    assert segments.verify().entries == 0


def test_segments_and_stream_are_one_log(log: AuditLog, segments: AuditSegments, redis_client: redis.Redis) -> None:
    note(log, 4)
    assert segments.seal() == 0  # nothing is an hour old
    assert segments.seal(age_seconds=0) == 4
    assert redis_client.xlen(AUDIT) == 0
    note(log, 3)
    assert segments.seal(age_seconds=0) == 3
    note(log, 2)

    assert segments.verify().entries == 9
    assert [entry.seq for entry in segments.entries()] == list(range(1, 10))


def test_a_segment_that_was_sealed_twice_changes_nothing(
    log: AuditLog, segments: AuditSegments, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(log, 3)
    monkeypatch.setattr(AuditLog, "sealed", lambda _self, _seq: None)  # the process died after its upload
    segments.seal(age_seconds=0)
    monkeypatch.undo()
    note(log, 2)
    segments.seal(age_seconds=0)

    assert segments.verify().entries == 5
    assert [entry.seq for entry in segments.entries()] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("field", ["time", "actor", "action", "subject", "details"])
def test_a_changed_segment_breaks_the_chain(
    log: AuditLog, segments: AuditSegments, objects: LocalObjectStore, field: str
) -> None:
    note(log, 3)
    segments.seal(age_seconds=0)
    key = objects.list_files("audit/", after="", limit=1)[0].key
    lines = objects.get(key).decode().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {field: "1"})
    objects.put(key, "\n".join(lines).encode(), "application/x-ndjson")

    with pytest.raises(AuditBroken, match="Entry 2"):
        segments.verify()


def test_a_removed_entry_breaks_the_chain(log: AuditLog, segments: AuditSegments, redis_client: redis.Redis) -> None:
    note(log, 3)
    redis_client.xdel(AUDIT, "2-0")

    with pytest.raises(AuditBroken, match="from entry 1 to entry 3"):
        segments.verify()


def test_a_removed_end_breaks_the_chain(log: AuditLog, segments: AuditSegments, redis_client: redis.Redis) -> None:
    note(log, 3)
    redis_client.xdel(AUDIT, "3-0")

    with pytest.raises(AuditBroken, match="missing"):
        segments.verify()


def test_a_removed_segment_breaks_the_chain(log: AuditLog, segments: AuditSegments, objects: LocalObjectStore) -> None:
    note(log, 3)
    segments.seal(age_seconds=0)
    note(log, 1)
    objects.delete_prefix("audit/")

    with pytest.raises(AuditBroken, match="from entry 0 to entry 4"):
        segments.verify()


def test_both_clients_write_one_chain(log: AuditLog, segments: AuditSegments, redis_settings: RedisSettings) -> None:
    async def add() -> int:
        client = make_async_redis(redis_settings)
        try:
            return await AsyncAuditLog(client).append("ben", "takedown", "job_1")
        finally:
            await client.connection_pool.disconnect()

    note(log, 1)

    assert asyncio.run(add()) == 2
    assert segments.verify().entries == 2
