"""Allowances: a window's calls at once, then one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis

from darkroom.errors import Allowance, JobStoreUnavailable, RateLimited
from darkroom.rate_limits import RateLimit
from darkroom.redis_client import make_async_redis
from darkroom.settings import RedisSettings
from tests.fixtures.ports import free_port

Take = Callable[[str], Awaitable[Allowance]]


def limited(settings: RedisSettings, *, per_minute: int, use: Callable[[Take], Awaitable[None]]) -> None:
    async def run() -> None:
        async with make_async_redis(settings) as client:
            try:
                await use(RateLimit(client, policy="key", per_minute=per_minute).take)
            finally:
                await client.connection_pool.disconnect()

    asyncio.run(run())


def test_a_windows_calls_may_come_at_once_and_then_no_more(
    redis_settings: RedisSettings, redis_client: redis.Redis
) -> None:
    async def use(take: Take) -> None:
        assert [(await take("ada")).remaining for _ in range(3)] == [2, 1, 0]
        with pytest.raises(RateLimited) as caught:
            await take("ada")
        assert 18 <= caught.value.retry_seconds <= 20
        assert caught.value.allowance == Allowance("key", quota=3, window=60, remaining=0, reset=60)
        assert (await take("ben")).remaining == 2

    limited(redis_settings, per_minute=3, use=use)
    assert all(0 < redis_client.ttl(name) <= 60 for name in redis_client.keys("*"))


def test_refused_calls_do_not_prolong_the_wait(redis_settings: RedisSettings) -> None:
    async def use(take: Take) -> None:
        answers = await asyncio.gather(*(take("ada") for _ in range(200)), return_exceptions=True)
        refusals = [answer for answer in answers if isinstance(answer, RateLimited)]
        assert len(refusals) >= 100
        assert {refusal.retry_seconds for refusal in refusals} == {1}

        await asyncio.sleep(1.0)

        assert (await take("ada")).quota == 60

    limited(redis_settings, per_minute=60, use=use)


def test_simultaneous_calls_share_one_allowance(redis_settings: RedisSettings) -> None:
    async def use(take: Take) -> None:
        answers = await asyncio.gather(*(take("ada") for _ in range(40)), return_exceptions=True)
        assert sum(isinstance(answer, Allowance) for answer in answers) == 10
        assert sum(isinstance(answer, RateLimited) for answer in answers) == 30

    limited(redis_settings, per_minute=10, use=use)


def test_store_that_is_away_is_said_to_be() -> None:
    async def use(take: Take) -> None:
        with pytest.raises(JobStoreUnavailable):
            await take("ada")

    settings = RedisSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0", redis_timeout_seconds=0.2)
    limited(settings, per_minute=10, use=use)
