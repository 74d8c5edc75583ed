"""The job store against a real Valkey: what the reaper does."""

from __future__ import annotations

import time

import pytest
import redis

from darkroom.errors import (
    JobGone,
    JobNotFound,
    ObjectStoreUnavailable,
)
from darkroom.job_store import Committed, JobStore, Lease, Reaped, Tidied
from darkroom.jobs import JobStatus
from tests.darkroom.factories import make_image, read_job, run_one, submit_job
from tests.darkroom.passing_time import end_lease, pass_deadline, pass_retention

S = JobStatus
PASSING = ("darkroom:claim:", "darkroom:gone:", "darkroom:usage")  # keys with a TTL


def test_job_whose_attempts_are_all_lost_fails(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    rounds = []
    for worker, others in (("w1", 1), ("w2", 1), ("w3", 0)):  # in company twice, so that there is one strike alone
        run_one(store, worker=worker)
        for _ in range(others):
            submit_job(store)
            run_one(store, worker=worker)
        end_lease(redis_client, job)
        rounds.append(store.reap())

    assert rounds == [Reaped(requeued=1), Reaped(requeued=1), Reaped(failed=1)]
    error = read_job(store, job).error
    assert error is not None
    assert error.code == "attempts_exhausted"


def test_lost_lease_of_a_cancelled_or_late_job_ends_it(store: JobStore, redis_client: redis.Redis) -> None:
    first, second = submit_job(store), submit_job(store, deadline_seconds=60)
    run_one(store), run_one(store)
    store.cancel(first.id, owner="ada")
    pass_deadline(redis_client, second)
    for job in (first, second):
        end_lease(redis_client, job)

    assert store.reap() == Reaped(cancelled=1, expired=1)


def test_deadline_ends_queued_delayed_and_running_jobs(store: JobStore, redis_client: redis.Redis) -> None:
    jobs = [submit_job(store, deadline_seconds=60) for _ in range(3)]
    running = run_one(store)
    store.release(run_one(store), not_before_seconds=60)
    for job in jobs:
        pass_deadline(redis_client, job)

    assert store.reap() == Reaped(expired=3)
    assert {read_job(store, job).status for job in jobs} == {S.EXPIRED}
    assert store.renew([running]) == {running.job.id: Lease.LOST}
    assert store.commit(running, status=S.SUCCEEDED, images=[make_image()]) is Committed.EXPIRED


def test_deadline_that_really_passes_expires_the_job(store: JobStore) -> None:
    job = submit_job(store, deadline_seconds=1)
    assert store.reap() == Reaped()

    time.sleep(1.05)

    assert store.reap() == Reaped(expired=1)
    assert read_job(store, job).status is S.EXPIRED


def test_old_ended_jobs_are_forgotten_with_their_objects_and_leave_nothing(
    store: JobStore, redis_client: redis.Redis
) -> None:
    old, young, alive = (submit_job(store) for _ in range(3))
    for _ in (old, young):
        store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()])
    pass_retention(redis_client, old)
    deleted: list[str] = []

    assert store.tidy(deleted.append) == Tidied(removed=1, swept=1)

    assert deleted == [old.id]
    assert [job.id for job in store.list_jobs("ada").jobs] == [alive.id, young.id]
    assert [name for name in redis_client.keys("*") if old.id in name] == [f"darkroom:gone:{old.id}"]
    with pytest.raises(JobGone):
        read_job(store, old)
    with pytest.raises(JobNotFound):
        store.get(old.id, owner="ben")


def test_objects_are_remembered_until_they_can_be_deleted(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()])
    pass_retention(redis_client, job)
    deleted: list[str] = []

    def refuse(_job_id: str) -> None:
        raise ObjectStoreUnavailable

    with pytest.raises(ObjectStoreUnavailable):
        store.tidy(refuse)
    store.tidy(deleted.append)

    assert deleted == [job.id]
    with pytest.raises(JobGone):
        read_job(store, job)


def test_server_is_as_empty_after_as_before(store: JobStore, redis_client: redis.Redis) -> None:
    for _ in range(20):
        job = submit_job(store, deadline_seconds=60)
        store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()])
        pass_retention(redis_client, job)
    store.tidy([].append)

    left = {name for name in redis_client.keys("*") if not name.startswith(PASSING)}

    assert left - {"darkroom:feed"} == {
        "darkroom:place",
        "darkroom:rates",
        "darkroom:served:standard",
        "darkroom:virtual:standard",
    }
    assert all(redis_client.ttl(name) > 0 for prefix in PASSING for name in redis_client.keys(f"{prefix}*"))
