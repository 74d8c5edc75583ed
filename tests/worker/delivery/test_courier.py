"""The courier, over a real Valkey, with receivers that behave and receivers that don't."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from darkroom.settings import RedisSettings
from tests.fixtures.ports import free_port
from tests.fixtures.receiver import OK, Received, receiving, status
from tests.worker.delivery.post_office import PROMPT, post_office, until, verified


def in_turn(*answers: bytes) -> Callable[[Received], bytes]:
    """Answers one after the other; the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


async def _silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def count(office: Any, result: str) -> float:
    return float(office.metrics.webhook_deliveries.labels(result)._value.get())


def test_delivery_is_thin_and_signed_by_the_endpoints_secret(redis_settings: RedisSettings) -> None:
    async def story() -> tuple[Any, ...]:
        async with receiving() as receiver, post_office(redis_settings) as office:
            endpoint = await office.endpoint(receiver)
            event = await office.happen()
            await office.until_empty()
            return event, endpoint, receiver.requests

    event, endpoint, [request] = asyncio.run(story())

    body = verified(request, endpoint.secrets[0].text)
    assert request.headers["webhook-id"] == event
    assert set(body) == {"type", "timestamp", "data"}
    assert body["type"] == "job.succeeded"
    assert body["data"] == {
        "job_id": "job_1",
        "status": "succeeded",
        "url": "https://darkroom.example.com/jobs/job_1",
    }
    assert PROMPT.encode() not in request.body


def test_jobs_own_webhook_is_signed_by_its_owners_secret(redis_settings: RedisSettings) -> None:
    async def story() -> tuple[Any, ...]:
        async with receiving() as receiver, post_office(redis_settings) as office:
            [secret] = await office.stores.endpoints.owner_secrets("acme")
            await office.happen(url=f"http://127.0.0.1:{receiver.port}/own")
            await office.until_empty()
            return secret.text, receiver.requests

    secret, [request] = asyncio.run(story())

    assert request.line == "POST /own HTTP/1.1"
    assert verified(request, secret)["data"]["job_id"] == "job_1"


def test_both_secrets_sign_during_a_rotation(redis_settings: RedisSettings) -> None:
    async def story() -> tuple[Any, ...]:
        async with receiving() as receiver, post_office(redis_settings) as office:
            old = await office.endpoint(receiver)
            new = await office.stores.endpoints.rotate("acme", old.id, overlap_seconds=60)
            await office.happen()
            await office.until_empty()
            return old.secrets[0].text, new.secrets[0].text, receiver.requests

    old, new, [request] = asyncio.run(story())

    assert verified(request, old) == verified(request, new)


@pytest.mark.parametrize(
    "answer",
    [status(500), status(302, Location="http://127.0.0.1:1/"), status(404), status(429), b"", b"nonsense\r\n\r\n"],
)
def test_failed_delivery_is_tried_again_under_the_same_event_id(redis_settings: RedisSettings, answer: bytes) -> None:
    async def story() -> tuple[Any, ...]:
        async with receiving(in_turn(answer, answer, OK)) as receiver, post_office(redis_settings) as office:
            endpoint = await office.endpoint(receiver)
            await office.happen()
            await office.until_empty()
            log = await office.stores.log.latest("acme", endpoint.id, limit=10)
            return endpoint.secrets[0].text, receiver.requests, log

    secret, requests, log = asyncio.run(story())

    assert len(requests) == 3
    assert {request.headers["webhook-id"] for request in requests} == {"evt_acme_1"}
    assert len({request.body for request in requests}) == 1
    assert all(verified(request, secret) for request in requests)
    assert [(entry.attempt, entry.result) for entry in log] == [(3, "delivered"), (2, "retried"), (1, "retried")]


def test_delivery_that_never_arrives_is_kept_for_its_owner_and_can_be_replayed(redis_settings: RedisSettings) -> None:
    async def story() -> tuple[Any, ...]:
        answers = in_turn(*[status(500)] * 4, OK)
        async with receiving(answers) as receiver, post_office(redis_settings) as office:
            await office.endpoint(receiver)
            event = await office.happen()
            await office.until_empty()
            kept = await office.stores.outbox.undelivered("acme", limit=10)
            assert len(receiver.requests) == 4
            assert await office.stores.outbox.replay("acme") == 1
            await office.until_empty()
            return event, kept, receiver.requests, await office.stores.outbox.undelivered("acme", limit=10)

    event, kept, requests, after = asyncio.run(story())

    assert [(one.event, one.attempt, one.reason) for one in kept] == [(event, 4, "status_500")]
    assert requests[-1].headers["webhook-id"] == event
    assert after == []


def test_nobody_listens_then_somebody_does(redis_settings: RedisSettings) -> None:
    async def story() -> list[Received]:
        port = free_port()
        async with post_office(redis_settings, delivery_retry_seconds="0.3,0.3,0.3,0.3,0.3,0.3") as office:
            await office.endpoint(port)
            await office.happen()
            await asyncio.sleep(0.2)
            async with receiving(port=port) as receiver:
                await office.until_empty()
                return receiver.requests

    assert len(asyncio.run(story())) == 1


def test_receiver_that_never_answers_is_given_up(redis_settings: RedisSettings) -> None:
    async def story() -> Any:
        settings = {"delivery_timeout_seconds": 0.2, "delivery_retry_seconds": "0.05"}
        async with receiving(_silence) as receiver, post_office(redis_settings, **settings) as office:
            await office.endpoint(receiver)
            await office.happen()
            await office.until_empty()
            return await office.stores.outbox.undelivered("acme", limit=10), count(office, "dead")

    [kept], dead = asyncio.run(story())

    assert (kept.reason, kept.attempt, dead) == ("timeout", 2, 1)


def test_receiver_that_asks_for_time_gets_it(redis_settings: RedisSettings) -> None:
    moments: list[float] = []

    def answer(_: Received) -> bytes:
        moments.append(time.monotonic())
        return status(429, Retry_After="1") if len(moments) == 1 else OK

    async def story() -> None:
        async with receiving(answer) as receiver, post_office(redis_settings) as office:
            await office.endpoint(receiver)
            await office.happen(1)
            await asyncio.sleep(0.5)
            await office.happen(2)  # waits too: it is the receiver that asked
            await office.until_empty()

    asyncio.run(story())

    assert len(moments) == 3
    assert min(moments[1:]) - moments[0] > 0.99


def test_410_disables_the_endpoint(redis_settings: RedisSettings) -> None:
    async def story() -> Any:
        async with receiving(status(410)) as receiver, post_office(redis_settings) as office:
            endpoint = await office.endpoint(receiver)
            await office.happen(1)
            await office.until_empty()
            await office.happen(2)
            await asyncio.sleep(0.3)
            after = await office.stores.endpoints.get("acme", endpoint.id)
            return after, len(receiver.requests), await office.stores.outbox.undelivered("acme", limit=10)

    endpoint, requests, kept = asyncio.run(story())

    assert (endpoint.enabled, endpoint.disabled_because, requests) == (False, "gone", 1)
    assert [one.reason for one in kept] == ["status_410"]


def test_deliveries_to_a_deleted_endpoint_are_given_up_without_being_sent(redis_settings: RedisSettings) -> None:
    async def story() -> Any:
        async with receiving(in_turn(status(500), OK)) as receiver, post_office(redis_settings) as office:
            endpoint = await office.endpoint(receiver)
            await office.happen()
            await until(lambda: receiver.requests)
            await office.stores.endpoints.delete("acme", endpoint.id)
            await office.until_empty()
            return len(receiver.requests), await office.stores.outbox.undelivered("acme", limit=10)

    requests, [kept] = asyncio.run(story())

    assert (requests, kept.reason) == (1, "endpoint_deleted")


def test_url_sealed_by_a_lost_key_is_given_up(redis_settings: RedisSettings) -> None:
    async def story() -> Any:
        async with post_office(redis_settings) as elsewhere:
            sealer = elsewhere.stores.sealer
        async with post_office(redis_settings) as office:
            office.stores.sealer.seal, seal = sealer.seal, office.stores.sealer.seal  # type: ignore[method-assign]
            await office.happen(url="http://127.0.0.1/")
            office.stores.sealer.seal = seal  # type: ignore[method-assign]
            await office.until_empty()
            return await office.stores.outbox.undelivered("acme", limit=10)

    [kept] = asyncio.run(story())

    assert kept.reason == "unreadable"


@pytest.mark.slow
def test_dead_receivers_delay_nobody(redis_settings: RedisSettings) -> None:
    """Three receivers hang with a hundred deliveries each; those to a fourth, put in last, don't wait for them.

    Without lanes, 64 at once, the 300 ahead of them would take 14 seconds.
    """
    patience = 3.0

    async def story() -> tuple[float, int]:
        settings = {"delivery_timeout_seconds": patience}
        async with (
            receiving(_silence) as dead,
            receiving() as alive,
            post_office(redis_settings, **settings) as office,
        ):
            for number in range(3):
                await office.endpoint(dead, owner=f"dead{number}")
            await office.endpoint(alive)
            for number in range(100):
                for owner in ("dead0", "dead1", "dead2"):
                    await office.happen(number, owner=owner)
            began = time.monotonic()
            events = {await office.happen(number) for number in range(50)}
            # By id, for a busy machine may have one sent twice.
            await until(lambda: {request.headers["webhook-id"] for request in alive.requests} == events)
            return time.monotonic() - began, dead.connections

    seconds, tried = asyncio.run(story())

    assert tried <= 3 * 4 * (seconds / patience + 2)  # each lane lets 4 through, which take that long
    assert seconds < 10
