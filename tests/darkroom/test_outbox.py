"""The outbox, against a real Valkey: who gets an event, and that none is lost or claimed twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
import redis

from darkroom.job_store import JobStore
from darkroom.jobs import JobError, JobStatus, Tier
from darkroom.lua_scripts import make_script
from darkroom.outbox import JOB_TARGET, MOST_UNDELIVERED, TEST_EVENT, Delivery, Outbox
from darkroom.redis_client import make_async_redis
from darkroom.settings import RedisSettings
from tests.darkroom.factories import make_job

Story = Callable[[Outbox], Awaitable[Any]]
FAN_OUT = make_script(
    "fan_out", "local job = cjson.decode(ARGV[2])\nfan_out(ARGV[1], job, ARGV[3], ARGV[4], clock())\nreturn 1"
)
_PUT_MANY = make_script(
    "put_many",
    "for i = 0, ARGV[1] - 1 do put_delivery('evt_' .. i, 'job', 'acme', clock(), {'time', 0, 'type', 'test'}) end",
)
MOST_WAITING = 10_000  # of one owner, as in outbox.lua
LEASE = 30.0


@pytest.fixture
def run(redis_settings: RedisSettings) -> Callable[[Story], Any]:
    def run_story(story: Story) -> Any:
        async def main() -> Any:
            client = make_async_redis(redis_settings)
            try:
                return await story(Outbox(client))
            finally:
                await client.connection_pool.disconnect()

        return asyncio.run(main())

    return run_story


@pytest.fixture
def happen(redis_client: redis.Redis) -> Callable[..., None]:
    """Has something happen to a job of the owner `acme`."""

    def happen(
        event: str = "evt_1", kind: str = "job.succeeded", webhook: Mapping[str, Any] | None = None, owner: str = "acme"
    ) -> None:
        job = {"owner": owner, "status": "succeeded"}
        if webhook is not None:
            job["webhook"] = json.dumps(webhook)
        redis_client.eval(FAN_OUT.text, 0, "job_1", json.dumps(job), kind, event)

    return happen


def add_endpoint(client: redis.Redis, name: str, *, events: list[str] | None = None, enabled: bool = True) -> None:
    client.hset("darkroom:endpoints:acme", name, json.dumps({"enabled": enabled, "events": events or []}))


def now_due(client: redis.Redis) -> None:
    """Let all pauses and leases be over."""
    for delivery_id in client.zrange("darkroom:outbox", 0, -1):
        client.zadd("darkroom:outbox", {delivery_id: 0})


def test_event_goes_to_the_jobs_webhook_and_the_owners_endpoints(
    run: Callable[[Story], Any], happen: Callable[..., None], redis_client: redis.Redis
) -> None:
    add_endpoint(redis_client, "ep_all")
    add_endpoint(redis_client, "ep_these", events=["job.succeeded", "job.failed"])
    add_endpoint(redis_client, "ep_others", events=["job.blocked"])
    add_endpoint(redis_client, "ep_off", enabled=False)

    happen(webhook={"url": "sealed", "events": []})
    claimed = run(lambda outbox: outbox.claim(10, lease_seconds=LEASE))

    assert {delivery.target for delivery in claimed} == {JOB_TARGET, "ep_all", "ep_these"}
    assert {delivery.event for delivery in claimed} == {"evt_1"}
    own = next(delivery for delivery in claimed if delivery.target == JOB_TARGET)
    assert (own.url, own.job, own.type, own.status, own.attempt) == ("sealed", "job_1", "job.succeeded", "succeeded", 1)


def test_progress_is_sent_only_to_those_who_named_it(
    run: Callable[[Story], Any], happen: Callable[..., None], redis_client: redis.Redis
) -> None:
    add_endpoint(redis_client, "ep_all")
    add_endpoint(redis_client, "ep_named", events=["job.progress"])

    happen(kind="job.progress", webhook={"url": "sealed"})

    assert [one.target for one in run(lambda outbox: outbox.claim(10, lease_seconds=LEASE))] == ["ep_named"]


def test_the_same_event_twice_is_one_delivery(run: Callable[[Story], Any], happen: Callable[..., None]) -> None:
    happen(webhook={"url": "sealed"})
    happen(webhook={"url": "sealed"})

    assert len(run(lambda outbox: outbox.claim(10, lease_seconds=LEASE))) == 1


def test_many_claimers_share_the_deliveries(run: Callable[[Story], Any], happen: Callable[..., None]) -> None:
    for number in range(200):
        happen(f"evt_{number}", webhook={"url": "sealed"})

    async def story(outbox: Outbox) -> list[Delivery]:
        claims = await asyncio.gather(*(outbox.claim(7, lease_seconds=LEASE) for _ in range(40)))
        return [delivery for claim in claims for delivery in claim]

    events = [delivery.event for delivery in run(story)]
    assert len(events) == len(set(events)) == 200


def test_claim_that_was_never_settled_is_due_again_at_the_same_attempt(
    run: Callable[[Story], Any], happen: Callable[..., None]
) -> None:
    happen(webhook={"url": "sealed"})

    async def story(outbox: Outbox) -> tuple[list[Delivery], list[Delivery], list[Delivery]]:
        first = await outbox.claim(1, lease_seconds=0.2)
        meanwhile = await outbox.claim(1, lease_seconds=LEASE)
        await asyncio.sleep(0.25)
        return first, meanwhile, await outbox.claim(1, lease_seconds=LEASE)

    first, meanwhile, after = run(story)
    assert (len(first), meanwhile) == (1, [])
    assert (after[0].event, after[0].attempt) == (first[0].event, 1)


def test_delivered_is_done_and_kept_for_some_days(
    run: Callable[[Story], Any], happen: Callable[..., None], redis_client: redis.Redis
) -> None:
    happen(webhook={"url": "sealed"})

    async def story(outbox: Outbox) -> tuple[int, float, int]:
        await outbox.delivered((await outbox.claim(1, lease_seconds=LEASE))[0])
        return await outbox.backlog()

    assert run(story) == (0, 0.0, 0)
    assert 0 < redis_client.ttl("darkroom:delivery:evt_1:job") < 4 * 86_400
    assert redis_client.zcard("darkroom:outbox:acme") == 0


def test_delivered_event_can_be_sent_again_by_its_owner_alone(
    run: Callable[[Story], Any], happen: Callable[..., None], redis_client: redis.Redis
) -> None:
    happen(webhook={"url": "sealed"})

    async def story(outbox: Outbox) -> tuple[int, int, int, list[Delivery]]:
        [first] = await outbox.claim(1, lease_seconds=LEASE)
        await outbox.delivered(first)
        theirs, unnamed = await outbox.replay("other", [first.id]), await outbox.replay("acme")
        mine = await outbox.replay("acme", [first.id])
        return theirs, unnamed, mine, await outbox.claim(1, lease_seconds=LEASE)

    theirs, unnamed, mine, [again] = run(story)
    assert (theirs, unnamed, mine) == (0, 0, 1)
    assert (again.event, again.url, again.attempt) == ("evt_1", "sealed", 1)
    assert redis_client.ttl("darkroom:delivery:evt_1:job") == -1


@pytest.mark.slow
def test_owner_whom_nobody_delivers_to_gives_up_the_oldest_and_nobody_elses(
    run: Callable[[Story], Any], happen: Callable[..., None], redis_client: redis.Redis
) -> None:
    happen("evt_theirs", webhook={"url": "sealed"}, owner="other")
    redis_client.eval(_PUT_MANY.text, 0, MOST_WAITING)
    happen("evt_last", webhook={"url": "sealed"})

    async def story(outbox: Outbox) -> tuple[tuple[int, float, int], list[Delivery]]:
        return await outbox.backlog(), await outbox.undelivered("acme", limit=10)

    (waiting, _, too_many), [given_up] = run(story)
    assert (waiting, too_many) == (MOST_WAITING + 1, 1)
    assert (given_up.event, given_up.reason, given_up.attempt) == ("evt_0", "too_many_waiting", 0)
    assert redis_client.zscore("darkroom:outbox", "evt_theirs:job") is not None


def test_retry_counts_an_attempt_and_postponing_does_not(
    run: Callable[[Story], Any], happen: Callable[..., None], redis_client: redis.Redis
) -> None:
    happen(webhook={"url": "sealed"})

    async def claim_again(outbox: Outbox) -> Delivery:
        now_due(redis_client)
        return (await outbox.claim(1, lease_seconds=LEASE))[0]

    async def story(outbox: Outbox) -> list[int]:
        first = await claim_again(outbox)
        await outbox.retry(first, after=60)
        assert await outbox.claim(1, lease_seconds=LEASE) == []
        second = await claim_again(outbox)
        await outbox.postpone(second, after=60)
        assert await outbox.claim(1, lease_seconds=LEASE) == []
        return [first.attempt, second.attempt, (await claim_again(outbox)).attempt]

    assert run(story) == [1, 2, 2]


def test_who_lost_the_claim_changes_nothing(
    run: Callable[[Story], Any], happen: Callable[..., None], redis_client: redis.Redis
) -> None:
    happen(webhook={"url": "sealed"})

    async def story(outbox: Outbox) -> tuple[list[Delivery], list[Delivery]]:
        [slow] = await outbox.claim(1, lease_seconds=0)
        [_] = await outbox.claim(1, lease_seconds=LEASE)
        await outbox.bury(slow, reason="timeout")
        await outbox.retry(slow, after=0)
        return await outbox.undelivered("acme", limit=10), await outbox.claim(1, lease_seconds=LEASE)

    assert run(story) == ([], [])


def test_what_was_given_up_is_its_owners_to_see_and_to_replay(
    run: Callable[[Story], Any], happen: Callable[..., None]
) -> None:
    happen(webhook={"url": "sealed"})

    async def story(outbox: Outbox) -> dict[str, Any]:
        [delivery] = await outbox.claim(1, lease_seconds=LEASE)
        await outbox.bury(delivery, reason="status_500")
        seen = {
            "due": await outbox.claim(1, lease_seconds=LEASE),
            "mine": await outbox.undelivered("acme", limit=10),
            "theirs": await outbox.undelivered("other", limit=10),
            "replayed by them": await outbox.replay("other", [delivery.id]),
            "replayed": await outbox.replay("acme"),
            "replayed again": await outbox.replay("acme", [delivery.id]),
        }
        return seen | {"claimed": await outbox.claim(1, lease_seconds=LEASE)}

    seen = run(story)
    assert (seen["due"], seen["theirs"]) == ([], [])
    assert [(one.reason, one.attempt) for one in seen["mine"]] == [("status_500", 1)]
    assert [seen[key] for key in ("replayed by them", "replayed", "replayed again")] == [0, 1, 0]
    assert [(one.event, one.attempt, one.reason) for one in seen["claimed"]] == [("evt_1", 1, "")]


def test_only_the_latest_given_up_ones_are_kept(
    run: Callable[[Story], Any], happen: Callable[..., None], redis_client: redis.Redis
) -> None:
    for number in range(MOST_UNDELIVERED + 5):
        happen(f"evt_{number}", webhook={"url": "sealed"})

    async def story(outbox: Outbox) -> int:
        for delivery in await outbox.claim(MOST_UNDELIVERED + 5, lease_seconds=LEASE):
            await outbox.bury(delivery, reason="timeout")
        return len(await outbox.undelivered("acme", limit=MOST_UNDELIVERED * 2))

    assert run(story) == MOST_UNDELIVERED
    assert len(redis_client.keys("darkroom:delivery:*")) == MOST_UNDELIVERED
    assert 0 < redis_client.ttl("darkroom:undelivered:acme") < 31 * 86_400


def test_test_event_goes_to_the_endpoint_it_is_for(run: Callable[[Story], Any]) -> None:
    async def story(outbox: Outbox) -> tuple[str, list[Delivery]]:
        return await outbox.put_test("acme", "ep_1"), await outbox.claim(1, lease_seconds=LEASE)

    event, [delivery] = run(story)
    assert (delivery.event, delivery.type, delivery.owner) == (event, TEST_EVENT, "acme")
    assert (delivery.target, delivery.job) == ("ep_1", "")


def test_backlog_tells_how_late_the_first_one_is(
    run: Callable[[Story], Any], happen: Callable[..., None], redis_client: redis.Redis
) -> None:
    happen(webhook={"url": "sealed"})
    [seconds, _] = redis_client.time()
    redis_client.zadd("darkroom:outbox", {"evt_1:job": seconds - 100})

    waiting, overdue, _ = run(lambda outbox: outbox.backlog())

    assert (waiting, 99 < overdue < 110) == (1, True)


def test_every_change_of_a_job_is_told_once_in_the_step_that_made_it(
    run: Callable[[Story], Any], redis_client: redis.Redis
) -> None:
    add_endpoint(redis_client, "ep_all")
    store, blocked = JobStore(redis_client), make_job(owner="acme", status=JobStatus.BLOCKED)
    done, refused = store.submit(make_job(owner="acme")).job, store.submit(blocked).job
    claim = store.claim(tier=Tier.STANDARD, worker="w1", nonce="n1", lease_seconds=LEASE, models=None)
    assert claim is not None
    store.commit(claim, status=JobStatus.FAILED, images=[], error=JobError("generation_failed", "It failed."))

    told = run(lambda outbox: outbox.claim(10, lease_seconds=LEASE))

    seen = {(one.job, one.type, one.status, one.event) for one in told}
    stem = done.id.removeprefix("job_")
    assert seen == {
        (done.id, "job.started", "running", f"evt_{stem}_1_started"),
        (done.id, "job.failed", "failed", f"evt_{stem}_1_failed"),
        (refused.id, "job.blocked", "blocked", f"evt_{refused.id.removeprefix('job_')}_0_blocked"),
    }


def test_progress_is_sent_now_and_then_under_an_id_of_its_step(
    run: Callable[[Story], Any], redis_client: redis.Redis
) -> None:
    store = JobStore(redis_client)
    add_endpoint(redis_client, "ep_1", events=["job.progress"])
    job = store.submit(make_job(owner="acme")).job
    claim = store.claim(tier=Tier.STANDARD, worker="w1", nonce="n1", lease_seconds=30, models=None)
    assert claim is not None
    for step in (1, 2, 2):
        store.progress(claim, step=step, steps=25)

    deliveries = run(lambda outbox: outbox.claim(10, lease_seconds=LEASE))

    assert [(one.event, one.type) for one in deliveries] == [(f"evt_{job.id[4:]}_1_step_1", "job.progress")]
