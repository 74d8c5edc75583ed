"""Events of jobs, against a real Valkey: what is told, when, and that the story is whole without the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from darkroom.events import BEGINNING, QUEUED, UNRUN_END, EventLog, JobEvent, is_place, order, story
from darkroom.job_store import JobStore
from darkroom.jobs import Job, JobError, JobStatus
from darkroom.redis_client import make_async_redis
from darkroom.settings import RedisSettings
from tests.darkroom.factories import make_image, read_job, run_one, submit_job

Read = Callable[[EventLog], Awaitable[Any]]


@pytest.fixture
def ask(redis_settings: RedisSettings) -> Callable[[Read], Any]:
    def ask(read: Read) -> Any:
        async def main() -> Any:
            client = make_async_redis(redis_settings)
            try:
                return await read(EventLog(client, block_seconds=0.05))
            finally:
                await client.connection_pool.disconnect()

        return asyncio.run(main())

    return ask


@pytest.fixture
def tell(ask: Callable[[Read], Any], store: JobStore) -> Callable[[Job], list[JobEvent]]:
    """The job's whole story."""

    def tell(job: Job) -> list[JobEvent]:
        record = read_job(store, job)
        return story(record, ask(lambda log: log.of_job(job.id)))

    return tell


def names(events: list[JobEvent]) -> list[str]:
    return [event.name for event in events]


def ordered(events: list[JobEvent]) -> bool:
    places = [order(event.place) for event in events]
    return places == sorted(set(places))


def test_story_of_a_job_that_succeeds(store: JobStore, tell: Callable[[Job], list[JobEvent]]) -> None:
    job = submit_job(store)
    claim = run_one(store)
    store.progress(claim, step=3, steps=25)
    store.commit(claim, status=JobStatus.SUCCEEDED, images=[make_image()])

    events = tell(job)

    assert names(events) == ["queued", "started", "progress", "succeeded"]
    assert (events[2].step, events[2].steps, events[2].attempt) == (3, 25, 1)
    assert events[0].place == QUEUED
    assert ordered(events)


def test_released_job_is_requeued_and_started_again(store: JobStore, tell: Callable[[Job], list[JobEvent]]) -> None:
    job = submit_job(store)
    store.release(run_one(store))
    store.commit(run_one(store), status=JobStatus.FAILED, error=JobError("out_of_memory", "It did not fit."))

    events = tell(job)

    assert names(events) == ["queued", "started", "requeued", "started", "failed"]
    assert [event.attempt for event in events] == [0, 1, 1, 2, 2]
    assert events[-1].code == "out_of_memory"


def test_job_that_waits_takes_no_stream(
    store: JobStore, redis_client: redis.Redis, tell: Callable[[Job], list[JobEvent]]
) -> None:
    job = submit_job(store)
    store.cancel(job.id, owner=job.owner)

    assert not redis_client.exists(f"darkroom:events:{job.id}")
    assert [(event.name, event.place) for event in tell(job)] == [("queued", QUEUED), ("cancelled", UNRUN_END)]


def test_refused_job_was_never_queued(store: JobStore, tell: Callable[[Job], list[JobEvent]]) -> None:
    job = submit_job(store, status=JobStatus.BLOCKED, error=JobError("prompt_violence", "No."))

    assert [(event.name, event.code) for event in tell(job)] == [("blocked", "prompt_violence")]


def test_story_has_its_end_when_the_stream_is_gone(
    store: JobStore, redis_client: redis.Redis, tell: Callable[[Job], list[JobEvent]]
) -> None:
    job = submit_job(store)
    store.commit(run_one(store), status=JobStatus.SUCCEEDED, images=[make_image()])
    last = tell(job)[-1]
    redis_client.delete(f"darkroom:events:{job.id}")

    events = tell(job)

    assert names(events) == ["queued", "succeeded"]
    assert order(events[-1].place) >= (order(last.place)[0], 0)


def test_stream_is_bounded_and_goes_after_the_end(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    for _ in range(150):
        store.release(run_one(store))
    key = f"darkroom:events:{job.id}"
    assert redis_client.xlen(key) == 200
    assert redis_client.ttl(key) > 3600

    store.commit(run_one(store), status=JobStatus.SUCCEEDED, images=[make_image()])

    assert 0 < redis_client.ttl(key) <= 600


def test_progress_is_told_now_and_then_and_once_for_a_step(
    store: JobStore, tell: Callable[[Job], list[JobEvent]]
) -> None:
    job = submit_job(store)
    claim = run_one(store)
    for step in (1, 1, 2, 3, 4):
        store.progress(claim, step=step, steps=25)

    assert [event.step for event in tell(job) if event.name == "progress"] == [1]
    assert read_job(store, job).progress.step == 4


def test_stale_attempt_tells_nothing(store: JobStore, tell: Callable[[Job], list[JobEvent]]) -> None:
    job = submit_job(store)
    claim = run_one(store)
    store.release(claim)
    store.progress(claim, step=3, steps=25)

    assert names(tell(job)) == ["queued", "started", "requeued"]


def test_feed_gives_what_is_new_at_the_same_places(
    store: JobStore, ask: Callable[[Read], Any], tell: Callable[[Job], list[JobEvent]]
) -> None:
    start = ask(lambda log: log.feed_end())
    one, other = submit_job(store), submit_job(store)
    store.cancel(other.id, owner=other.owner)
    store.commit(run_one(store), status=JobStatus.SUCCEEDED, images=[make_image()])

    place, events = ask(lambda log: log.news(start))

    assert [event for event in events if event.job == one.id] == tell(one)[1:]
    assert [event.name for event in events if event.job == other.id] == ["cancelled"]
    assert ask(lambda log: log.news(place)) == (place, [])


def test_events_hold_no_prompt(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    store.commit(run_one(store), status=JobStatus.FAILED, error=JobError("internal_error", "It failed."))

    told = repr(redis_client.xrange(f"darkroom:events:{job.id}")) + repr(redis_client.xrange("darkroom:feed"))

    assert job.params.prompt not in told


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-2-3", "٣-1", "9" * 16 + "-0", "$", "1-0\n"])
def test_what_is_no_place_is_known(text: str) -> None:
    assert not is_place(text)
    assert is_place(BEGINNING)
