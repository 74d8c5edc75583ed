from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis

from darkroom.errors import KeyHeld, KeySlowed
from darkroom.near_misses import HELD, LONGEST_WAIT_SECONDS, REFUSED, AsyncNearMisses, NearMisses
from darkroom.redis_client import make_async_redis
from darkroom.settings import RedisSettings, SafetySettings

KEY = "0123456789ab"


def make(client: redis.Redis, *, slow: float = 3, hold: float = 6, half_life: float = 3_600) -> NearMisses:
    settings = SafetySettings(near_miss_slow=slow, near_miss_hold=hold, near_miss_half_life_seconds=half_life)
    return NearMisses(client, settings)


@pytest.fixture
def require_free(redis_settings: RedisSettings) -> Callable[[str], None]:
    def ask(key: str) -> None:
        async def main() -> None:
            client = make_async_redis(redis_settings)
            try:
                await AsyncNearMisses(client, SafetySettings()).require_free(key)
            finally:
                await client.connection_pool.disconnect()

        asyncio.run(main())

    return ask


def note(misses: NearMisses, times: int, weight: float = REFUSED) -> float:
    return [misses.note(KEY, weight) for _ in range(times)][-1]


def test_few_refusals_cost_nothing(redis_client: redis.Redis, require_free: Callable[[str], None]) -> None:
    assert note(make(redis_client), 2) == pytest.approx(2, abs=0.01)

    require_free(KEY)


def test_key_waits_longer_with_each_further_refusal(
    redis_client: redis.Redis, require_free: Callable[[str], None]
) -> None:
    misses, waits = make(redis_client, slow=2.9, hold=0), []
    note(misses, 2)

    for _ in range(3):
        misses.note(KEY, REFUSED)
        with pytest.raises(KeySlowed) as caught:
            require_free(KEY)
        waits.append(caught.value.retry_seconds)

    assert waits == [10, 20, 40]
    require_free("ba9876543210")
    note(misses, 20)
    with pytest.raises(KeySlowed) as caught:
        require_free(KEY)
    assert caught.value.retry_seconds == LONGEST_WAIT_SECONDS


def test_key_that_goes_on_is_held_until_it_is_released(
    redis_client: redis.Redis, require_free: Callable[[str], None]
) -> None:
    misses = make(redis_client, hold=3.9)
    note(misses, 4)

    with pytest.raises(KeyHeld):
        require_free(KEY)
    assert set(misses.held()) == {KEY}
    assert misses.release(KEY)
    require_free(KEY)
    assert not misses.release(KEY)


def test_prompt_that_waits_for_a_person_counts_less(redis_client: redis.Redis) -> None:
    assert note(make(redis_client), 4, HELD) == pytest.approx(1, abs=0.01)


def test_count_fades(redis_client: redis.Redis) -> None:
    misses = make(redis_client, half_life=100)
    note(misses, 4)
    at = float(redis_client.hget(f"darkroom:misses:{KEY}", "at") or 0)
    redis_client.hset(f"darkroom:misses:{KEY}", "at", f"{at - 200:.6f}")  # as if two half-lives had passed

    assert misses.note(KEY, REFUSED) == pytest.approx(2, abs=0.01)


def test_bars_of_zero_count_and_do_nothing(redis_client: redis.Redis, require_free: Callable[[str], None]) -> None:
    note(make(redis_client, slow=0, hold=0), 30)

    require_free(KEY)
