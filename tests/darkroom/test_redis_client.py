"""Redis clients: trouble is reported soon and under one name."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis

from darkroom.async_job_store import AsyncJobStore
from darkroom.errors import JobStoreUnavailable
from darkroom.job_store import JobStore
from darkroom.keys import KeyStore
from darkroom.redis_client import make_async_redis, make_redis, redis_errors
from darkroom.settings import RedisSettings
from tests.darkroom.factories import make_job
from tests.fixtures.ports import free_port


@pytest.fixture
def nowhere() -> RedisSettings:
    return RedisSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0")


def test_unreachable_server_is_reported_within_two_seconds(nowhere: RedisSettings) -> None:
    start = time.monotonic()
    with make_redis(nowhere) as client:
        for call in (lambda: JobStore(client).submit(make_job()), lambda: KeyStore(client).verify("dk_x_y")):
            with pytest.raises(JobStoreUnavailable):
                call()

    assert time.monotonic() - start < 4


def test_event_loop_reports_it_too(nowhere: RedisSettings) -> None:
    async def ping() -> None:
        async with make_async_redis(nowhere) as client:
            await AsyncJobStore(client).ping()

    start = time.monotonic()
    with pytest.raises(JobStoreUnavailable):
        asyncio.run(ping())
    assert time.monotonic() - start < 2


def test_full_server_is_unavailable(redis_client: redis.Redis) -> None:
    used = redis_client.info("memory")["used_memory"]
    redis_client.config_set("maxmemory", used // 2)
    try:
        with pytest.raises(JobStoreUnavailable):
            JobStore(redis_client).submit(make_job())
    finally:
        redis_client.config_set("maxmemory", 0)


def test_our_own_mistakes_pass_unchanged(redis_client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError), redis_errors():
        redis_client.eval("return undefined_name.x", 0)


def test_more_callers_than_connections_wait_for_one(redis_settings: RedisSettings) -> None:
    settings = redis_settings.model_copy(update={"redis_max_connections": 2})

    async def many() -> int:
        async with make_async_redis(settings) as client:
            answers = await asyncio.gather(*(client.ping() for _ in range(50)))
            await client.connection_pool.disconnect()
            return len(answers)

    assert asyncio.run(many()) == 50
