"""The list of workers that operators read."""

from __future__ import annotations

import json

import pytest
import redis

from darkroom import worker_registry
from darkroom.worker_registry import SEEN, STATES, WorkerRegistry
from tests.darkroom.factories import make_worker_state


@pytest.fixture
def registry(redis_client: redis.Redis) -> WorkerRegistry:
    return WorkerRegistry(redis_client)


def test_what_a_worker_says_is_what_is_read(registry: WorkerRegistry) -> None:
    registry.announce(make_worker_state(name="b", rows=3))
    registry.announce(make_worker_state(name="a"))

    first, second = registry.all()
    assert (first.name, second.name, second.rows, second.tiers) == ("a", "b", 3, ("preview", "standard", "quality"))
    assert 0 <= second.seen_seconds < 5


def test_a_silent_worker_is_left_out_and_later_struck_off(
    registry: WorkerRegistry, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.announce(make_worker_state(name="gone"))
    monkeypatch.setattr(worker_registry, "ALIVE_SECONDS", -1.0)
    assert registry.all() == []

    monkeypatch.setattr(worker_registry, "FORGET_SECONDS", -1.0)
    registry.announce(make_worker_state(name="here"))
    assert (redis_client.zrange(SEEN, 0, -1), redis_client.hkeys(STATES)) == (["here"], ["here"])


def test_what_a_later_release_adds_is_left_out(registry: WorkerRegistry, redis_client: redis.Redis) -> None:
    registry.announce(make_worker_state(name="new"))
    said = json.loads(redis_client.hget(STATES, "new") or "{}")
    redis_client.hset(STATES, "new", json.dumps(said | {"colour": "red"}))

    assert [worker.name for worker in registry.all()] == ["new"]


def test_what_an_earlier_release_left_out_is_unknown(registry: WorkerRegistry, redis_client: redis.Redis) -> None:
    registry.announce(make_worker_state(name="old", row_cap=2))
    said = json.loads(redis_client.hget(STATES, "old") or "{}")
    del said["row_cap"]
    redis_client.hset(STATES, "old", json.dumps(said))

    assert [(worker.name, worker.row_cap) for worker in registry.all()] == [("old", None)]
