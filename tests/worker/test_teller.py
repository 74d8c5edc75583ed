"""One process tells what is true of all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from darkroom.job_store import JobStore
from darkroom.metrics import Metrics
from darkroom.redis_client import make_redis
from darkroom.settings import RedisSettings
from tests.darkroom.factories import make_job
from tests.fixtures.processes import eventually
from worker.teller import LEASE, Teller

DEPTH = "darkroom_queue_depth_jobs"
STANDARD = {"tier": "standard"}


def told(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def gone() -> Iterator[redis.Redis]:
    client = make_redis(RedisSettings(redis_url="redis://127.0.0.1:1/0"))
    yield client
    client.close()


def test_of_two_candidates_one_tells_the_queues(redis_client: redis.Redis, jobs: JobStore) -> None:
    jobs.submit(make_job())
    first, second = Metrics(), Metrics()
    one, other = Teller(redis_client, name="one", metrics=first), Teller(redis_client, name="other", metrics=second)

    for _ in range(2):
        one.round()
        other.round()

    assert told(first, DEPTH, **STANDARD) == 1
    assert told(second, DEPTH, **STANDARD) is None


def test_another_takes_over_when_the_lease_has_run_out_and_the_first_falls_silent(redis_client: redis.Redis) -> None:
    first, second = Metrics(), Metrics()
    one, other = Teller(redis_client, name="one", metrics=first), Teller(redis_client, name="other", metrics=second)
    one.round()

    redis_client.delete(LEASE)
    other.round()
    one.round()

    assert told(second, DEPTH, **STANDARD) == 0
    assert told(first, DEPTH, **STANDARD) is None


def test_who_stops_leaves_the_lease_at_once(redis_client: redis.Redis) -> None:
    first, second = Metrics(), Metrics()
    one, other = Teller(redis_client, name="one", metrics=first), Teller(redis_client, name="other", metrics=second)
    one.start()
    eventually(lambda: first.elected.telling, seconds=10)

    one.stop()
    other.round()

    assert told(first, DEPTH, **STANDARD) is None
    assert told(second, DEPTH, **STANDARD) == 0


def test_old_figures_are_not_shown_through_an_outage(redis_client: redis.Redis, gone: redis.Redis) -> None:
    metrics = Metrics()
    teller = Teller(redis_client, name="one", metrics=metrics)
    teller.round()
    teller._redis = gone

    teller.round()

    assert told(metrics, DEPTH, **STANDARD) is None


def test_redis_memory_and_its_log_of_writes_are_told(redis_client: redis.Redis) -> None:
    metrics = Metrics()

    Teller(redis_client, name="one", metrics=metrics).round()

    assert (told(metrics, "darkroom_redis_memory_bytes", kind="used") or 0) > 100_000
    assert told(metrics, "darkroom_redis_memory_bytes", kind="limit") is not None
    assert told(metrics, "darkroom_redis_persistence_ok") == (
        redis_client.config_get("appendonly")["appendonly"] == "yes"
    )
