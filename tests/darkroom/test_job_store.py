"""The job store against a real Valkey: what each transition does."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis

from darkroom.errors import (
    BadCursor,
    IdempotencyMismatch,
    JobNotCancellable,
    JobNotFound,
    ObjectStoreUnavailable,
)
from darkroom.job_ids import new_job_id
from darkroom.job_store import AsyncJobStore, Committed, IdempotencyKey, JobStore, Lease, Reaped, TierCounts
from darkroom.jobs import SCHEMA, Job, JobError, JobStatus, Progress, Tier
from darkroom.redis_client import make_async_redis
from darkroom.settings import JobSettings, RedisSettings
from tests.darkroom.factories import claim_next, make_image, make_job, make_params, run_one
from tests.darkroom.passing_time import end_lease, pass_deadline, pass_not_before, pass_retention

S = JobStatus
ERROR = JobError("generation_failed", "The image could not be generated.")
KEY = IdempotencyKey("once", "body-1")


@pytest.fixture
def store(redis_client: redis.Redis) -> JobStore:
    return JobStore(redis_client, JobSettings(max_attempts=3, max_transient=2))


def _submit(store: JobStore, **changes: object) -> Job:
    deadline = changes.pop("deadline_seconds", None)
    return store.submit(make_job(**changes), deadline_seconds=deadline).job


def _read(store: JobStore, job: Job) -> Job:
    return store.get(job.id, owner=job.owner)


# Submit


def test_submitted_job_is_read_back_with_the_servers_time(store: JobStore) -> None:
    job = make_job(warnings=("one",), metadata={"k": "v"}, policy="default@1")
    before = time.time()

    submitted = store.submit(job, deadline_seconds=60)

    kept = _read(store, job)
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
        _read(store, other)


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
    store.reap()

    assert not store.submit(make_job(), idempotency=replace(KEY, fingerprint="other")).replayed


def test_concurrent_equal_calls_make_one_job(store: JobStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: store.submit(make_job(), idempotency=KEY), range(100)))

    assert len({answer.job.id for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    assert store.claimable(Tier.STANDARD) == 1


# Read


def test_foreign_unknown_and_malformed_ids_are_all_not_found(store: JobStore) -> None:
    job = _submit(store)

    for job_id, owner in ((job.id, "ben"), (new_job_id(), "ada"), ("x", "ada"), ("", "ada"), (job.id + ":x", "ada")):
        with pytest.raises(JobNotFound):
            store.get(job_id, owner=owner)
        with pytest.raises(JobNotFound):
            store.cancel(job_id, owner=owner)


def test_list_is_newest_first_in_pages_without_gap_or_repeat(store: JobStore) -> None:
    ids = [_submit(store).id for _ in range(7)]
    _submit(store, owner="ben")

    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = store.list_jobs("ada", limit=3, cursor=cursor)
        seen += [job.id for job in page.jobs]
        cursor, pages = page.next_cursor, pages + 1

    assert seen == ids[::-1]
    assert pages == 3


def test_jobs_submitted_meanwhile_do_not_shift_the_pages(store: JobStore) -> None:
    ids = [_submit(store).id for _ in range(4)]
    first = store.list_jobs("ada", limit=2)
    _submit(store)

    second = store.list_jobs("ada", limit=2, cursor=first.next_cursor)

    assert [job.id for job in (*first.jobs, *second.jobs)] == ids[::-1]
    assert second.next_cursor is None


def test_list_filters_by_status(store: JobStore) -> None:
    jobs = [_submit(store) for _ in range(6)]
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


# Claim


def test_claim_runs_the_oldest_job_of_the_tier(store: JobStore) -> None:
    _submit(store, tier=Tier.QUALITY)
    first, second = _submit(store), _submit(store)

    claims = [run_one(store, worker="w7") for _ in range(2)]

    assert [claim.job.id for claim in claims] == [first.id, second.id]
    assert claims[0].job == _read(store, first)
    assert (claims[0].job.status, claims[0].attempt, claims[0].worker) == (S.RUNNING, 1, "w7")
    assert claims[0].job.started_at is not None
    assert claim_next(store) is None


def test_claim_skips_what_the_worker_cannot_run(store: JobStore) -> None:
    newer = _submit(store, schema=SCHEMA + 1)
    big = _submit(store, params=make_params(model="big"))
    tiny = _submit(store)

    assert run_one(store, models={"tiny"}).job.id == tiny.id
    assert claim_next(store, models={"tiny"}) is None
    assert claim_next(store, models=set()) is None
    assert run_one(store, models={"tiny", "big"}).job.id == big.id
    assert claim_next(store) is None
    assert _read(store, newer).status is S.QUEUED


def test_runnable_job_behind_many_others_is_found(store: JobStore) -> None:
    for _ in range(350):
        _submit(store, params=make_params(model="big"))
    tiny = _submit(store)

    assert run_one(store, models=["tiny"]).job.id == tiny.id


def test_overdue_jobs_on_the_way_expire(store: JobStore, redis_client: redis.Redis) -> None:
    late = [_submit(store, deadline_seconds=60) for _ in range(120)]
    for job in late:
        pass_deadline(redis_client, job)
    good = _submit(store)

    assert run_one(store).job.id == good.id
    ended = _read(store, late[0])
    assert (ended.status, ended.error.code if ended.error else None) == (S.EXPIRED, "deadline_exceeded")
    assert {_read(store, job).status for job in late} == {S.EXPIRED}


def test_repeated_claim_gets_the_same_job(store: JobStore) -> None:
    _submit(store)
    _submit(store)

    first, again = run_one(store, nonce="n1"), run_one(store, nonce="n1")

    assert first == again
    assert run_one(store, nonce="n2").job.id != first.job.id


def test_repeated_claim_of_a_job_lost_meanwhile_gets_nothing(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store)
    run_one(store, nonce="n1")
    end_lease(redis_client, job)
    store.reap()

    assert claim_next(store, nonce="n1") is None
    assert run_one(store, worker="w2", nonce="n1").attempt == 2


def test_threads_never_claim_the_same_job(store: JobStore) -> None:
    ids = {_submit(store).id for _ in range(100)}

    with ThreadPoolExecutor(16) as pool:
        claims = list(pool.map(lambda _: claim_next(store), range(120)))

    taken = [claim.job.id for claim in claims if claim]
    assert len(taken) == 100
    assert set(taken) == ids


# Heartbeat and progress


def test_renewal_tells_kept_cancelled_and_lost_in_one_call(store: JobStore, redis_client: redis.Redis) -> None:
    for _ in range(3):
        _submit(store)
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
    job = _submit(store)
    claim = run_one(store)
    end_lease(redis_client, job)

    store.renew([claim])

    assert store.reap() == Reaped()
    assert _read(store, job).status is S.RUNNING


def test_stale_attempt_neither_renews_nor_reports(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store)
    stale = run_one(store)
    end_lease(redis_client, job)
    store.reap()
    current = run_one(store, worker="w2")
    store.progress(current, step=2, steps=25)

    store.progress(stale, step=20, steps=25)

    assert store.renew([stale]) == {job.id: Lease.LOST}
    assert _read(store, job).progress == Progress(step=2, steps=25)


def test_lease_that_really_runs_out_is_reaped(store: JobStore) -> None:
    job = _submit(store)
    run_one(store, lease_seconds=0.05)
    assert store.reap() == Reaped()

    time.sleep(0.1)

    assert store.reap() == Reaped(requeued=1)
    assert _read(store, job).status is S.QUEUED


# Commit


def test_commit_attaches_the_images(store: JobStore) -> None:
    job = _submit(store)
    claim = run_one(store)
    images = (make_image(), make_image(index=1))

    assert store.commit(claim, status=S.SUCCEEDED, images=images) is Committed.DONE

    ended = _read(store, job)
    assert (ended.status, ended.images, ended.error) == (S.SUCCEEDED, images, None)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.finished_at >= ended.started_at >= ended.created_at
    assert store.counts()[Tier.STANDARD] == TierCounts(0, 0, 0.0)


def test_second_commit_of_the_same_attempt_is_done_again(store: JobStore) -> None:
    job = _submit(store)
    claim = run_one(store)
    store.commit(claim, status=S.SUCCEEDED, images=[make_image()])

    assert store.commit(claim, status=S.FAILED, error=ERROR) is Committed.DONE
    assert _read(store, job).status is S.SUCCEEDED


def test_stale_attempt_is_refused_while_the_next_one_runs_and_after(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store)
    stale = run_one(store)
    end_lease(redis_client, job)
    store.reap()
    assert store.commit(stale, status=S.SUCCEEDED, images=[make_image()]) is Committed.LOST
    current = run_one(store, worker="w2")
    assert store.commit(stale, status=S.SUCCEEDED, images=[make_image()]) is Committed.LOST

    store.commit(current, status=S.FAILED, error=ERROR)

    assert store.commit(stale, status=S.SUCCEEDED, images=[make_image()]) is Committed.LOST
    assert (_read(store, job).status, _read(store, job).images) == (S.FAILED, ())


@pytest.mark.parametrize("status", [S.SUCCEEDED, S.IN_REVIEW, S.FAILED, S.BLOCKED])
def test_accepted_cancel_wins_over_any_result(store: JobStore, status: JobStatus) -> None:
    job = _submit(store)
    claim = run_one(store)
    store.cancel(job.id, owner="ada")

    assert store.commit(claim, status=status, images=[make_image()]) is Committed.CANCELLED
    assert store.commit(claim, status=status, images=[make_image()]) is Committed.CANCELLED

    ended = _read(store, job)
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
    job = _submit(store, deadline_seconds=60)
    claim = run_one(store)
    pass_deadline(redis_client, job)

    assert [store.commit(claim, status=status) for _ in range(2)] == [answer, answer]
    assert (_read(store, job).status, _read(store, job).images) == (after, ())


def test_held_images_wait_in_review_without_lease_or_deadline(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store, deadline_seconds=60)
    store.commit(run_one(store), status=S.IN_REVIEW, images=[make_image(decision="review")])
    pass_deadline(redis_client, job)

    assert store.reap() == Reaped()
    assert (_read(store, job).status, _read(store, job).finished_at) == (S.IN_REVIEW, None)


def test_commit_of_a_job_that_is_gone_is_lost(store: JobStore, redis_client: redis.Redis) -> None:
    _submit(store)
    claim = run_one(store)
    redis_client.flushall()

    assert store.commit(claim, status=S.SUCCEEDED) is Committed.LOST


# Release


def test_released_job_keeps_its_place(store: JobStore) -> None:
    first = _submit(store)
    claim = run_one(store)
    _submit(store)
    store.progress(claim, step=3, steps=25)

    store.release(claim)

    back = _read(store, first)
    assert (back.status, back.started_at, back.progress.step) == (S.QUEUED, None, 0)
    assert run_one(store).job.id == first.id


def test_release_is_no_lost_attempt(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store)
    for _ in range(6):
        store.release(run_one(store))
    run_one(store)
    end_lease(redis_client, job)

    assert store.reap() == Reaped(requeued=1)


def test_not_before_time_is_waited_for(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store)
    store.release(run_one(store), not_before_seconds=60, transient=True)

    assert claim_next(store) is None
    assert store.claimable(Tier.STANDARD) == 0
    assert store.counts()[Tier.STANDARD].queued == 1
    assert store.reap() == Reaped()

    pass_not_before(redis_client, job)
    assert store.reap() == Reaped(ready=1)
    assert run_one(store).job.id == job.id


def test_too_many_transient_faults_fail_the_job_with_the_faults_code(store: JobStore) -> None:
    job = _submit(store)
    fault = JobError("check_unavailable", "A check gave no answer.")

    for _ in range(3):
        store.release(run_one(store), transient=True, error=fault)

    assert (_read(store, job).status, _read(store, job).error) == (S.FAILED, fault)


def test_release_of_a_cancelled_or_late_job_ends_it(store: JobStore, redis_client: redis.Redis) -> None:
    first, second = _submit(store), _submit(store, deadline_seconds=60)
    claims = [run_one(store) for _ in range(2)]
    store.cancel(first.id, owner="ada")
    pass_deadline(redis_client, second)

    for claim in claims:
        store.release(claim, transient=True)

    assert [_read(store, job).status for job in (first, second)] == [S.CANCELLED, S.EXPIRED]
    assert claim_next(store) is None


def test_stale_release_changes_nothing(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store)
    stale = run_one(store)
    end_lease(redis_client, job)
    store.reap()
    current = run_one(store, worker="w2")

    store.release(stale)

    assert _read(store, job).status is S.RUNNING
    assert store.commit(current, status=S.SUCCEEDED) is Committed.DONE


# Cancel


def test_waiting_job_is_cancelled_at_once(store: JobStore) -> None:
    job = _submit(store)

    cancelled = store.cancel(job.id, owner="ada")

    assert (cancelled.status, cancelled.finished_at is not None) == (S.CANCELLED, True)
    assert claim_next(store) is None


def test_delayed_job_is_cancelled_at_once(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store)
    store.release(run_one(store), not_before_seconds=60)

    store.cancel(job.id, owner="ada")

    assert _read(store, job).status is S.CANCELLED
    assert store.counts()[Tier.STANDARD].queued == 0


def test_running_job_is_only_marked(store: JobStore) -> None:
    job = _submit(store)
    run_one(store)

    marked = store.cancel(job.id, owner="ada")

    assert (marked.status, marked.cancel_requested) == (S.RUNNING, True)


def test_held_images_are_dropped_by_a_cancel(store: JobStore) -> None:
    job = _submit(store)
    store.commit(run_one(store), status=S.IN_REVIEW, images=[make_image(decision="review")])

    cancelled = store.cancel(job.id, owner="ada")

    assert (cancelled.status, cancelled.images) == (S.CANCELLED, ())


def test_cancel_is_idempotent_and_too_late_for_other_ends(store: JobStore) -> None:
    first, second = _submit(store), _submit(store)
    assert store.cancel(first.id, owner="ada") == store.cancel(first.id, owner="ada")
    store.commit(run_one(store), status=S.SUCCEEDED)

    with pytest.raises(JobNotCancellable):
        store.cancel(second.id, owner="ada")


# Reap


def test_job_whose_attempts_are_all_lost_fails(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store)
    rounds = []
    for _ in range(3):
        run_one(store)
        end_lease(redis_client, job)
        rounds.append(store.reap())

    assert rounds == [Reaped(requeued=1), Reaped(requeued=1), Reaped(failed=1)]
    error = _read(store, job).error
    assert error is not None
    assert error.code == "attempts_exhausted"


def test_lost_lease_of_a_cancelled_or_late_job_ends_it(store: JobStore, redis_client: redis.Redis) -> None:
    first, second = _submit(store), _submit(store, deadline_seconds=60)
    run_one(store), run_one(store)
    store.cancel(first.id, owner="ada")
    pass_deadline(redis_client, second)
    for job in (first, second):
        end_lease(redis_client, job)

    assert store.reap() == Reaped(cancelled=1, expired=1)


def test_deadline_ends_queued_delayed_and_running_jobs(store: JobStore, redis_client: redis.Redis) -> None:
    jobs = [_submit(store, deadline_seconds=60) for _ in range(3)]
    running = run_one(store)
    store.release(run_one(store), not_before_seconds=60)
    for job in jobs:
        pass_deadline(redis_client, job)

    assert store.reap() == Reaped(expired=3)
    assert {_read(store, job).status for job in jobs} == {S.EXPIRED}
    assert store.renew([running]) == {running.job.id: Lease.LOST}
    assert store.commit(running, status=S.SUCCEEDED, images=[make_image()]) is Committed.EXPIRED


def test_deadline_that_really_passes_expires_the_job(store: JobStore) -> None:
    job = _submit(store, deadline_seconds=1)
    assert store.reap() == Reaped()

    time.sleep(1.05)

    assert store.reap() == Reaped(expired=1)
    assert _read(store, job).status is S.EXPIRED


def test_old_ended_jobs_are_forgotten_with_their_objects_and_leave_nothing(
    store: JobStore, redis_client: redis.Redis
) -> None:
    old, young, alive = (_submit(store) for _ in range(3))
    for job in (old, young):
        store.cancel(job.id, owner="ada")
    pass_retention(redis_client, old)
    deleted: list[str] = []

    assert store.reap(delete_objects=deleted.append) == Reaped(removed=1)

    assert deleted == [f"outputs/{old.id}/"]
    assert [job.id for job in store.list_jobs("ada").jobs] == [alive.id, young.id]
    assert not any(old.id in name for name in redis_client.keys("*"))
    with pytest.raises(JobNotFound):
        _read(store, old)


def test_record_stays_while_its_objects_can_not_be_deleted(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store)
    store.cancel(job.id, owner="ada")
    pass_retention(redis_client, job)

    def refuse(_prefix: str) -> None:
        raise ObjectStoreUnavailable

    with pytest.raises(ObjectStoreUnavailable):
        store.reap(delete_objects=refuse)

    assert _read(store, job).status is S.CANCELLED


def test_server_is_as_empty_after_as_before(store: JobStore, redis_client: redis.Redis) -> None:
    for _ in range(20):
        job = _submit(store, deadline_seconds=60)
        store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image()])
        pass_retention(redis_client, job)
    store.reap()

    left = {name for name in redis_client.keys("*") if not name.startswith("darkroom:claim:")}

    assert left == {"darkroom:place", "darkroom:rates"}
    assert all(redis_client.ttl(name) > 0 for name in redis_client.keys("darkroom:claim:*"))


# Queue state


def test_estimate_needs_a_run_that_ended(store: JobStore) -> None:
    first = _submit(store)
    state = store.queue_state(first.id)
    assert state is not None
    assert (state.position, state.running, state.eta_seconds) == (1, 0, None)

    store.commit(run_one(store), status=S.SUCCEEDED)

    assert store.queue_state(first.id) is None


def test_estimate_grows_with_place_and_size(store: JobStore, redis_client: redis.Redis) -> None:
    job = _submit(store)
    claim = run_one(store)
    redis_client.hset(f"darkroom:job:{job.id}", "started_at", str(time.time() - 10))
    store.commit(claim, status=S.SUCCEEDED)
    _submit(store)
    _submit(store, params=make_params(num_images=2))

    states = [store.queue_state(job.id) for job in reversed(store.list_jobs("ada", status=S.QUEUED).jobs)]

    assert [state.position for state in states if state] == [1, 2]
    assert [state.eta_seconds for state in states if state] == [pytest.approx(10, abs=1), pytest.approx(30, abs=2)]


def test_counts_tell_queued_running_and_oldest(store: JobStore, redis_client: redis.Redis) -> None:
    for _ in range(3):
        _submit(store)
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
    _submit(store)
    redis_client.script_flush()

    assert claim_next(store) is not None
