from __future__ import annotations

import anyio
import pytest
import redis

from darkroom.errors import JobStoreUnavailable
from darkroom.fingerprints import PAGE, Fingerprint, FingerprintIndex, FingerprintLog, Match
from darkroom.redis_client import make_async_redis, make_redis
from darkroom.settings import RedisSettings
from tests.fixtures.ports import free_port

KEPT = 100_000


def make_print(number: int, *, looks: int | None = None) -> Fingerprint:
    return Fingerprint("owner", f"job_{number}", 0, number, looks)


def found(settings: RedisSettings, *, payload: int, looks: int | None = None, most: int = 0) -> list[Match]:
    async def search() -> list[Match]:
        client = make_async_redis(settings)
        index = FingerprintIndex(client, kept=KEPT)
        await index.refresh()
        await index.refresh()  # reads nothing twice
        matches = [*index.by_payload(payload, looks)]
        if looks is not None:
            matches += index.by_looks(looks, most=most)
        await client.connection_pool.disconnect()
        return matches

    return anyio.run(search)


def test_image_is_found_by_its_payload(redis_client: redis.Redis, redis_settings: RedisSettings) -> None:
    log = FingerprintLog(redis_client, kept=KEPT)
    for number in range(5):
        log.add(make_print(number))

    assert found(redis_settings, payload=3) == [Match("owner", "job_3", 0, "watermark", None)]
    assert found(redis_settings, payload=9) == []


def test_image_is_found_by_similar_looks(redis_client: redis.Redis, redis_settings: RedisSettings) -> None:
    FingerprintLog(redis_client, kept=KEPT).add(make_print(1, looks=2**63 + 0b1011))

    near = found(redis_settings, payload=0, looks=2**63 + 0b1000, most=2)

    assert near == [Match("owner", "job_1", 0, "looks", 2)]
    assert found(redis_settings, payload=0, looks=2**63 + 0b1000, most=1) == []


def test_flat_image_looks_like_nothing(redis_client: redis.Redis, redis_settings: RedisSettings) -> None:
    FingerprintLog(redis_client, kept=KEPT).add(make_print(1, looks=None))

    assert found(redis_settings, payload=7, looks=0, most=64) == []


def test_more_than_a_page_is_read(redis_client: redis.Redis, redis_settings: RedisSettings) -> None:
    log = FingerprintLog(redis_client, kept=KEPT)
    for number in range(PAGE + 5):
        log.add(make_print(number))

    assert [match.job_id for match in found(redis_settings, payload=PAGE + 4)] == [f"job_{PAGE + 4}"]


def test_oldest_are_forgotten(redis_client: redis.Redis) -> None:
    log = FingerprintLog(redis_client, kept=100)
    for number in range(400):
        log.add(make_print(number))

    assert 100 <= redis_client.xlen("darkroom:fingerprints") < 400


def test_nothing_is_kept_where_nothing_shall_be(redis_client: redis.Redis) -> None:
    FingerprintLog(redis_client, kept=0).add(make_print(1))

    assert redis_client.xlen("darkroom:fingerprints") == 0


def test_store_that_is_away_is_said_to_be_away() -> None:
    away = make_redis(RedisSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0", redis_timeout_seconds=0.1))

    with pytest.raises(JobStoreUnavailable):
        FingerprintLog(away, kept=1).add(make_print(1))
