"""The job store against a real Valkey: what callers do with it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis

from darkroom.async_job_store import AsyncJobStore
from darkroom.errors import (
    BadCursor,
    IdempotencyMismatch,
    JobNotCancellable,
    JobNotFound,
)
from darkroom.job_ids import new_job_id
from darkroom.job_store import IdempotencyKey, JobStore, TierCounts
from darkroom.jobs import JobError, JobStatus, Tier
from darkroom.redis_client import make_async_redis
from darkroom.settings import RedisSettings
from tests.darkroom.factories import claim_next, make_image, make_job, make_params, read_job, run_one, submit_job
from tests.darkroom.passing_time import pass_retention

S = JobStatus
KEY = IdempotencyKey("once", "body-1")


# Submit


def test_submitted_job_is_read_back_with_the_servers_time(store: JobStore) -> None:
    job = make_job(warnings=("one",), metadata={"k": "v"}, policy="default@1")
    before = time.time()

    submitted = store.submit(job, deadline_seconds=60)

    kept = read_job(store, job)
    assert submitted.job == kept
    assert before - 1 < kept.created_at < time.time() + 1
    assert kept.deadline_at == pytest.approx(kept.created_at + 60)
    assert replace(kept, created_at=0.0, deadline_at=None) == job


def test_positions_count_from_one(store: JobStore) -> None:
    assert [store.submit(make_job()).queue_position for _ in range(3)] == [1, 2, 3]
    assert store.submit(make_job(tier=Tier.PREVIEW)).queue_position == 1


def test_blocked_job_has_no_place_and_is_over(store: JobStore) -> None:
    submitted = store.submit(
        make_job(status=S.BLOCKED, error=JobError("prompt_blocked", "Refused.")), deadline_seconds=5
    )

    assert submitted.queue_position is None
    assert submitted.job.finished_at == submitted.job.created_at
    assert submitted.job.deadline_at is None
    assert store.claimable(Tier.STANDARD) == 0
    assert claim_next(store) is None


def test_same_id_again_is_the_same_job(store: JobStore) -> None:
    job = make_job()

    first, second = store.submit(job), store.submit(job)

    assert first == second
    assert store.claimable(Tier.STANDARD) == 1


def test_same_key_and_body_gives_the_first_jobs_answer(store: JobStore) -> None:
    first = store.submit(make_job(), idempotency=KEY)
    second = store.submit(make_job(), idempotency=KEY)

    assert (first.replayed, second.replayed) == (False, True)
    assert second.job == first.job
    assert store.claimable(Tier.STANDARD) == 1


def test_replay_tells_where_the_job_stands_now(store: JobStore) -> None:
    job = store.submit(make_job(), idempotency=KEY).job
    run_one(store)

    replayed = store.submit(make_job(), idempotency=KEY)

    assert (replayed.job.id, replayed.job.status, replayed.queue_position) == (job.id, S.RUNNING, None)


def test_same_key_with_another_body_is_refused_and_stores_nothing(store: JobStore) -> None:
    store.submit(make_job(), idempotency=KEY)
    other = make_job()

    with pytest.raises(IdempotencyMismatch):
        store.submit(other, idempotency=replace(KEY, fingerprint="body-2"))

    with pytest.raises(JobNotFound):
        read_job(store, other)


def test_key_belongs_to_its_owner(store: JobStore) -> None:
    first = store.submit(make_job(), idempotency=KEY)
    second = store.submit(make_job(owner="ben"), idempotency=replace(KEY, fingerprint="body-2"))

    assert not second.replayed
    assert first.job.id != second.job.id


def test_key_is_kept_hashed_for_a_day(store: JobStore, redis_client: redis.Redis) -> None:
    store.submit(make_job(), idempotency=IdempotencyKey("canary", "f"))

    (name,) = redis_client.keys("darkroom:idempotency:*")
    assert "canary" not in name
    assert 86_390 < redis_client.ttl(name) <= 86_400


def test_key_of_a_forgotten_job_is_free_again(store: JobStore, redis_client: redis.Redis) -> None:
    job = store.submit(make_job(status=S.BLOCKED), idempotency=KEY).job
    pass_retention(redis_client, job)
    store.tidy([].append)

    assert not store.submit(make_job(), idempotency=replace(KEY, fingerprint="other")).replayed


def test_concurrent_equal_calls_make_one_job(store: JobStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: store.submit(make_job(), idempotency=KEY), range(100)))

    assert len({answer.job.id for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    assert store.claimable(Tier.STANDARD) == 1


# Read


def test_foreign_unknown_and_malformed_ids_are_all_not_found(store: JobStore) -> None:
    job = submit_job(store)

    for job_id, owner in ((job.id, "ben"), (new_job_id(), "ada"), ("x", "ada"), ("", "ada"), (job.id + ":x", "ada")):
        with pytest.raises(JobNotFound):
            store.get(job_id, owner=owner)
        with pytest.raises(JobNotFound):
            store.cancel(job_id, owner=owner)


def test_list_is_newest_first_in_pages_without_gap_or_repeat(store: JobStore) -> None:
    ids = [submit_job(store).id for _ in range(7)]
    submit_job(store, owner="ben")

    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = store.list_jobs("ada", limit=3, cursor=cursor)
        seen += [job.id for job in page.jobs]
        cursor, pages = page.next_cursor, pages + 1

    assert seen == ids[::-1]
    assert pages == 3


def test_jobs_submitted_meanwhile_do_not_shift_the_pages(store: JobStore) -> None:
    ids = [submit_job(store).id for _ in range(4)]
    first = store.list_jobs("ada", limit=2)
    submit_job(store)

    second = store.list_jobs("ada", limit=2, cursor=first.next_cursor)

    assert [job.id for job in (*first.jobs, *second.jobs)] == ids[::-1]
    assert second.next_cursor is None


def test_list_filters_by_status(store: JobStore) -> None:
    jobs = [submit_job(store) for _ in range(6)]
    for job in jobs[::2]:
        store.cancel(job.id, owner="ada")

    page = store.list_jobs("ada", status=S.CANCELLED, limit=2)
    rest = store.list_jobs("ada", status=S.CANCELLED, limit=2, cursor=page.next_cursor)

    assert [job.id for job in (*page.jobs, *rest.jobs)] == [jobs[4].id, jobs[2].id, jobs[0].id]
    assert store.list_jobs("ada", status=S.FAILED).jobs == ()


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "1e9", "٣", "9" * 40, "+inf", "(1"])
def test_foreign_cursor_is_refused(store: JobStore, cursor: str) -> None:
    with pytest.raises(BadCursor):
        store.list_jobs("ada", cursor=cursor)


# Cancel


def test_waiting_job_is_cancelled_at_once(store: JobStore) -> None:
    job = submit_job(store)

    cancelled = store.cancel(job.id, owner="ada")

    assert (cancelled.status, cancelled.finished_at is not None) == (S.CANCELLED, True)
    assert claim_next(store) is None


def test_delayed_job_is_cancelled_at_once(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    store.release(run_one(store), not_before_seconds=60)

    store.cancel(job.id, owner="ada")

    assert read_job(store, job).status is S.CANCELLED
    assert store.counts()[Tier.STANDARD].queued == 0


def test_running_job_is_only_marked(store: JobStore) -> None:
    job = submit_job(store)
    run_one(store)

    marked = store.cancel(job.id, owner="ada")

    assert (marked.status, marked.cancel_requested) == (S.RUNNING, True)


def test_held_images_are_dropped_by_a_cancel(store: JobStore) -> None:
    job = submit_job(store)
    store.commit(run_one(store), status=S.IN_REVIEW, images=[make_image(decision="review")])

    cancelled = store.cancel(job.id, owner="ada")

    assert (cancelled.status, cancelled.images) == (S.CANCELLED, ())


def test_cancel_is_idempotent_and_too_late_for_other_ends(store: JobStore) -> None:
    first, second = submit_job(store), submit_job(store)
    assert store.cancel(first.id, owner="ada") == store.cancel(first.id, owner="ada")
    store.commit(run_one(store), status=S.SUCCEEDED)

    with pytest.raises(JobNotCancellable):
        store.cancel(second.id, owner="ada")


# Queue state


def test_estimate_needs_a_run_that_ended(store: JobStore) -> None:
    first = submit_job(store)
    state = store.queue_state(first.id)
    assert state is not None
    assert (state.position, state.running, state.eta_seconds) == (1, 0, None)

    store.commit(run_one(store), status=S.SUCCEEDED)

    assert store.queue_state(first.id) is None


def test_estimate_grows_with_place_and_size(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    claim = run_one(store)
    redis_client.hset(f"darkroom:job:{job.id}", "started_at", str(time.time() - 10))
    store.commit(claim, status=S.SUCCEEDED)
    submit_job(store)
    submit_job(store, params=make_params(num_images=2))

    states = [store.queue_state(job.id) for job in reversed(store.list_jobs("ada", status=S.QUEUED).jobs)]

    assert [state.position for state in states if state] == [1, 2]
    assert [state.eta_seconds for state in states if state] == [pytest.approx(10, abs=1), pytest.approx(30, abs=2)]


def test_counts_tell_queued_running_and_oldest(store: JobStore, redis_client: redis.Redis) -> None:
    for _ in range(3):
        submit_job(store)
    run_one(store)
    first = store.list_jobs("ada").jobs[1]
    redis_client.hset(f"darkroom:job:{first.id}", "created_at", str(time.time() - 100))

    counts = store.counts()

    assert (counts[Tier.STANDARD].queued, counts[Tier.STANDARD].running) == (2, 1)
    assert counts[Tier.STANDARD].oldest_seconds == pytest.approx(100, abs=2)
    assert counts[Tier.PREVIEW] == TierCounts(0, 0, 0.0)


# The event loop's store


def test_event_loop_does_the_same(redis_settings: RedisSettings) -> None:
    async def story() -> list[object]:
        async with make_async_redis(redis_settings) as client:
            store = AsyncJobStore(client)
            await store.ping()
            first = await store.submit(make_job(), idempotency=KEY, deadline_seconds=60)
            again = await store.submit(make_job(), idempotency=KEY)
            state = await store.queue_state(first.job.id)
            counts = await store.counts()
            page = await store.list_jobs("ada")
            cancelled = await store.cancel(first.job.id, owner="ada")
            read = await store.get(first.job.id, owner="ada")
            await client.connection_pool.disconnect()
            return [
                again.job == first.job,
                state and state.position,
                counts[Tier.STANDARD].queued,
                page.jobs == (first.job,),
                cancelled == read,
                read.status,
            ]

    assert asyncio.run(story()) == [True, 1, 1, True, True, S.CANCELLED]


def test_restarted_server_learns_the_scripts_again(store: JobStore, redis_client: redis.Redis) -> None:
    submit_job(store)
    redis_client.script_flush()

    assert claim_next(store) is not None
