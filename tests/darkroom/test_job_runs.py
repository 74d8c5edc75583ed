"""The job store against a real Valkey: what workers do with it, from claim to commit or release."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from darkroom.job_store import Committed, JobStore, Lease, Reaped, TierCounts
from darkroom.jobs import SCHEMA, JobError, JobStatus, Progress, Tier
from tests.darkroom.factories import claim_next, make_image, make_params, read_job, run_one, submit_job
from tests.darkroom.passing_time import end_lease, pass_deadline, pass_not_before

S = JobStatus
ERROR = JobError("generation_failed", "The image could not be generated.")


# Claim


def test_claim_runs_the_oldest_job_of_the_tier(store: JobStore) -> None:
    submit_job(store, tier=Tier.QUALITY)
    first, second = submit_job(store), submit_job(store)

    claims = [run_one(store, worker="w7") for _ in range(2)]

    assert [claim.job.id for claim in claims] == [first.id, second.id]
    assert claims[0].job == read_job(store, first)
    assert (claims[0].job.status, claims[0].attempt, claims[0].worker) == (S.RUNNING, 1, "w7")
    assert claims[0].job.started_at is not None
    assert claim_next(store) is None


def test_claim_skips_what_the_worker_cannot_run(store: JobStore) -> None:
    newer = submit_job(store, schema=SCHEMA + 1)
    big = submit_job(store, params=make_params(model="big"))
    tiny = submit_job(store)

    assert run_one(store, models={"tiny"}).job.id == tiny.id
    assert claim_next(store, models={"tiny"}) is None
    assert claim_next(store, models=set()) is None
    assert run_one(store, models={"tiny", "big"}).job.id == big.id
    assert claim_next(store) is None
    assert read_job(store, newer).status is S.QUEUED


def test_runnable_job_behind_many_others_is_found(store: JobStore) -> None:
    for _ in range(350):
        submit_job(store, params=make_params(model="big"))
    tiny = submit_job(store)

    assert run_one(store, models=["tiny"]).job.id == tiny.id


def test_overdue_jobs_on_the_way_expire(store: JobStore, redis_client: redis.Redis) -> None:
    late = [submit_job(store, deadline_seconds=60) for _ in range(120)]
    for job in late:
        pass_deadline(redis_client, job)
    good = submit_job(store)

    assert run_one(store).job.id == good.id
    ended = read_job(store, late[0])
    assert (ended.status, ended.error.code if ended.error else None) == (S.EXPIRED, "deadline_exceeded")
    assert {read_job(store, job).status for job in late} == {S.EXPIRED}


def test_repeated_claim_gets_the_same_job(store: JobStore) -> None:
    submit_job(store)
    submit_job(store)

    first, again = run_one(store, nonce="n1"), run_one(store, nonce="n1")

    assert first == again
    assert run_one(store, nonce="n2").job.id != first.job.id


def test_repeated_claim_of_a_job_lost_meanwhile_gets_nothing(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    run_one(store, nonce="n1")
    end_lease(redis_client, job)
    store.reap()

    assert claim_next(store, nonce="n1") is None
    assert run_one(store, worker="w2", nonce="n1").attempt == 2


def test_threads_never_claim_the_same_job(store: JobStore) -> None:
    ids = {submit_job(store).id for _ in range(100)}

    with ThreadPoolExecutor(16) as pool:
        claims = list(pool.map(lambda _: claim_next(store), range(120)))

    taken = [claim.job.id for claim in claims if claim]
    assert len(taken) == 100
    assert set(taken) == ids


# Heartbeat and progress


def test_renewal_tells_kept_cancelled_and_lost_in_one_call(store: JobStore, redis_client: redis.Redis) -> None:
    for _ in range(3):
        submit_job(store)
    kept, cancelled, lost = (run_one(store) for _ in range(3))
    store.cancel(cancelled.job.id, owner="ada")
    end_lease(redis_client, lost.job)
    store.reap()

    answers = store.renew([kept, cancelled, lost])

    assert answers == {
        kept.job.id: Lease.KEPT,
        cancelled.job.id: Lease.CANCELLED,
        lost.job.id: Lease.LOST,
    }
    assert store.renew([]) == {}


def test_renewed_lease_holds(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    claim = run_one(store)
    end_lease(redis_client, job)

    store.renew([claim])

    assert store.reap() == Reaped()
    assert read_job(store, job).status is S.RUNNING


def test_stale_attempt_neither_renews_nor_reports(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    stale = run_one(store)
    end_lease(redis_client, job)
    store.reap()
    current = run_one(store, worker="w2")
    store.progress(current, step=2, steps=25)

    store.progress(stale, step=20, steps=25)

    assert store.renew([stale]) == {job.id: Lease.LOST}
    assert read_job(store, job).progress == Progress(step=2, steps=25)


def test_lease_that_really_runs_out_is_reaped(store: JobStore) -> None:
    job = submit_job(store)
    run_one(store, lease_seconds=0.05)
    assert store.reap() == Reaped()

    time.sleep(0.1)

    assert store.reap() == Reaped(requeued=1)
    assert read_job(store, job).status is S.QUEUED


# Commit


def test_commit_attaches_the_images(store: JobStore) -> None:
    job = submit_job(store)
    claim = run_one(store)
    images = (make_image(), make_image(index=1))

    assert store.commit(claim, status=S.SUCCEEDED, images=images) is Committed.DONE

    ended = read_job(store, job)
    assert (ended.status, ended.images, ended.error) == (S.SUCCEEDED, images, None)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.finished_at >= ended.started_at >= ended.created_at
    assert store.counts()[Tier.STANDARD] == TierCounts(0, 0, 0.0)


def test_second_commit_of_the_same_attempt_is_done_again(store: JobStore) -> None:
    job = submit_job(store)
    claim = run_one(store)
    store.commit(claim, status=S.SUCCEEDED, images=[make_image()])

    assert store.commit(claim, status=S.FAILED, error=ERROR) is Committed.DONE
    assert read_job(store, job).status is S.SUCCEEDED


def test_stale_attempt_is_refused_while_the_next_one_runs_and_after(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    stale = run_one(store)
    end_lease(redis_client, job)
    store.reap()
    assert store.commit(stale, status=S.SUCCEEDED, images=[make_image()]) is Committed.LOST
    current = run_one(store, worker="w2")
    assert store.commit(stale, status=S.SUCCEEDED, images=[make_image()]) is Committed.LOST

    store.commit(current, status=S.FAILED, error=ERROR)

    assert store.commit(stale, status=S.SUCCEEDED, images=[make_image()]) is Committed.LOST
    assert (read_job(store, job).status, read_job(store, job).images) == (S.FAILED, ())


@pytest.mark.parametrize("status", [S.SUCCEEDED, S.IN_REVIEW, S.FAILED, S.BLOCKED])
def test_accepted_cancel_wins_over_any_result(store: JobStore, status: JobStatus) -> None:
    job = submit_job(store)
    claim = run_one(store)
    store.cancel(job.id, owner="ada")

    assert store.commit(claim, status=status, images=[make_image()]) is Committed.CANCELLED
    assert store.commit(claim, status=status, images=[make_image()]) is Committed.CANCELLED

    ended = read_job(store, job)
    assert (ended.status, ended.images) == (S.CANCELLED, ())


@pytest.mark.parametrize(
    ("status", "answer", "after"),
    [
        (S.SUCCEEDED, Committed.EXPIRED, S.EXPIRED),
        (S.IN_REVIEW, Committed.EXPIRED, S.EXPIRED),
        (S.EXPIRED, Committed.DONE, S.EXPIRED),
        (S.FAILED, Committed.DONE, S.FAILED),
        (S.BLOCKED, Committed.DONE, S.BLOCKED),
    ],
)
def test_no_image_is_attached_after_the_deadline(
    store: JobStore, redis_client: redis.Redis, status: JobStatus, answer: Committed, after: JobStatus
) -> None:
    job = submit_job(store, deadline_seconds=60)
    claim = run_one(store)
    pass_deadline(redis_client, job)

    assert [store.commit(claim, status=status) for _ in range(2)] == [answer, answer]
    assert (read_job(store, job).status, read_job(store, job).images) == (after, ())


def test_held_images_wait_in_review_without_lease_or_deadline(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store, deadline_seconds=60)
    store.commit(run_one(store), status=S.IN_REVIEW, images=[make_image(decision="review")])
    pass_deadline(redis_client, job)

    assert store.reap() == Reaped()
    assert (read_job(store, job).status, read_job(store, job).finished_at) == (S.IN_REVIEW, None)


def test_commit_of_a_job_that_is_gone_is_lost(store: JobStore, redis_client: redis.Redis) -> None:
    submit_job(store)
    claim = run_one(store)
    redis_client.flushall()

    assert store.commit(claim, status=S.SUCCEEDED) is Committed.LOST


# Release


def test_released_job_keeps_its_place(store: JobStore) -> None:
    first = submit_job(store)
    claim = run_one(store)
    submit_job(store)
    store.progress(claim, step=3, steps=25)

    store.release(claim)

    back = read_job(store, first)
    assert (back.status, back.started_at, back.progress.step) == (S.QUEUED, None, 0)
    assert run_one(store).job.id == first.id


def test_release_is_no_lost_attempt(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    for _ in range(6):
        store.release(run_one(store))
    run_one(store)
    end_lease(redis_client, job)

    assert store.reap() == Reaped(requeued=1)


def test_not_before_time_is_waited_for(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    store.release(run_one(store), not_before_seconds=60, transient=True)

    assert claim_next(store) is None
    assert store.claimable(Tier.STANDARD) == 0
    assert store.counts()[Tier.STANDARD].queued == 1
    assert store.reap() == Reaped()

    pass_not_before(redis_client, job)
    assert store.reap() == Reaped(ready=1)
    assert run_one(store).job.id == job.id


def test_too_many_transient_faults_fail_the_job_with_the_faults_code(store: JobStore) -> None:
    job = submit_job(store)
    fault = JobError("check_unavailable", "A check gave no answer.")

    for _ in range(3):
        store.release(run_one(store), transient=True, error=fault)

    assert (read_job(store, job).status, read_job(store, job).error) == (S.FAILED, fault)


def test_release_of_a_cancelled_or_late_job_ends_it(store: JobStore, redis_client: redis.Redis) -> None:
    first, second = submit_job(store), submit_job(store, deadline_seconds=60)
    claims = [run_one(store) for _ in range(2)]
    store.cancel(first.id, owner="ada")
    pass_deadline(redis_client, second)

    for claim in claims:
        store.release(claim, transient=True)

    assert [read_job(store, job).status for job in (first, second)] == [S.CANCELLED, S.EXPIRED]
    assert claim_next(store) is None


def test_stale_release_changes_nothing(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    stale = run_one(store)
    end_lease(redis_client, job)
    store.reap()
    current = run_one(store, worker="w2")

    store.release(stale)

    assert read_job(store, job).status is S.RUNNING
    assert store.commit(current, status=S.SUCCEEDED) is Committed.DONE
