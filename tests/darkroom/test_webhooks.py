"""An owner's webhook endpoints, against a real Valkey."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import redis

from darkroom.errors import EndpointNotFound, TooManyEndpoints
from darkroom.redis_client import make_async_redis
from darkroom.sealing import Sealer
from darkroom.settings import RedisSettings
from darkroom.webhooks import MAX_ENDPOINTS, Endpoint, EndpointStore

T = TypeVar("T")
URL = "https://hooks.example.com/in?token=planted-token"
Run = Callable[[Callable[[EndpointStore], Awaitable[T]]], T]


@pytest.fixture
def run(redis_settings: RedisSettings) -> Run[T]:
    """Runs a story of the store's calls on an event loop of its own."""
    sealer = Sealer([secrets.token_bytes(32)])

    def run_story(story: Callable[[EndpointStore], Awaitable[T]]) -> T:
        async def main() -> T:
            client = make_async_redis(redis_settings)
            try:
                return await story(EndpointStore(client, sealer))
            finally:
                await client.aclose()
                await client.connection_pool.disconnect()

        return asyncio.run(main())

    return run_story


async def make(store: EndpointStore, owner: str = "acme") -> Endpoint:
    return await store.create(owner, url=URL, events=("job.succeeded",), description="mine")


def test_endpoint_is_read_back_as_it_was_made(run: Run[object]) -> None:
    async def story(store: EndpointStore) -> tuple[Endpoint, Endpoint, list[Endpoint]]:
        made = await make(store)
        return made, await store.get("acme", made.id), await store.all_of("acme")

    made, read, listed = run(story)

    assert made == read == listed[0]
    assert (made.url, made.events, made.enabled) == (URL, ("job.succeeded",), True)
    assert made.secrets[0].text.startswith("whsec_")


def test_owners_do_not_see_each_others_endpoints(run: Run[object]) -> None:
    async def story(store: EndpointStore) -> list[Endpoint]:
        made = await make(store)
        for call in (store.get, store.delete):
            with pytest.raises(EndpointNotFound):
                await call("other", made.id)
        with pytest.raises(EndpointNotFound):
            await store.rotate("other", made.id, overlap_seconds=0)
        with pytest.raises(EndpointNotFound):
            await store.update("other", made.id, enabled=False)
        assert await store.all_of("other") == []
        return await store.all_of("acme")

    assert run(story)[0].enabled


def test_url_and_secrets_are_sealed_in_the_store(run: Run[Endpoint], redis_client: redis.Redis) -> None:
    made = run(make)

    stored = redis_client.hget("darkroom:endpoints:acme", made.id)

    assert "planted-token" not in stored
    assert made.secrets[0].text not in stored
    assert json.loads(stored)["events"] == ["job.succeeded"]
    assert "planted-token" not in repr(made)


def test_rotation_keeps_the_old_secret_for_a_while(run: Run[object]) -> None:
    async def story(store: EndpointStore) -> tuple[Endpoint, Endpoint]:
        made = await make(store)
        return made, await store.rotate("acme", made.id, overlap_seconds=3600)

    made, rotated = run(story)

    assert [one.text for one in rotated.secrets][1:] == [made.secrets[0].text]
    assert rotated.secrets[0].text != made.secrets[0].text
    assert rotated.secrets[1].until is not None


def test_concurrent_changes_are_all_made(run: Run[object]) -> None:
    async def story(store: EndpointStore) -> Endpoint:
        made = await make(store)
        rotations = (store.rotate("acme", made.id, overlap_seconds=3600) for _ in range(8))
        changes = (store.update("acme", made.id, description=f"d{number}") for number in range(8))
        await asyncio.gather(*rotations, *changes)
        return await store.get("acme", made.id)

    after = run(story)

    assert len(after.secrets) == 9
    assert after.description.startswith("d")


def test_there_are_only_so_many_endpoints(run: Run[object]) -> None:
    async def story(store: EndpointStore) -> list[Endpoint]:
        await asyncio.gather(*(make(store) for _ in range(MAX_ENDPOINTS)))
        with pytest.raises(TooManyEndpoints):
            await make(store)
        await make(store, "other")
        return await store.all_of("acme")

    assert len(run(story)) == MAX_ENDPOINTS


def test_disabling_a_deleted_endpoint_does_not_bring_it_back(run: Run[object]) -> None:
    async def story(store: EndpointStore) -> list[Endpoint]:
        made = await make(store)
        await store.delete("acme", made.id)
        await store.disable("acme", made.id, because="gone")
        return await store.all_of("acme")

    assert run(story) == []


def test_owners_own_secret_is_made_once_and_can_be_replaced(run: Run[object]) -> None:
    async def story(store: EndpointStore) -> tuple[set[str], list[str]]:
        first = await asyncio.gather(*(store.owner_secrets("acme") for _ in range(10)))
        new = await store.rotate_owner_secret("acme", overlap_seconds=60)
        after = await store.owner_secrets("acme")
        assert new == after[0]
        return {one[0].text for one in first}, [one.text for one in after]

    first, after = run(story)

    assert len(first) == 1
    assert set(after[1:]) == first
