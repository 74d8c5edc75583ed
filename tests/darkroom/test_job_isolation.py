"""Which deaths count against a job, and how a suspect gets a worker for itself."""

from __future__ import annotations

import pytest
import redis

from darkroom.errors import ClaimHeld
from darkroom.job_store import Claim, JobStore, Lease, Reaped
from darkroom.jobs import Job, JobStatus, Tier
from darkroom.settings import JobSettings
from tests.darkroom.factories import claim_next, make_image, make_params, read_job, run_one, submit_job
from tests.darkroom.passing_time import end_lease, pass_deadline

S = JobStatus
pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def store(redis_client: redis.Redis) -> JobStore:
    return JobStore(redis_client, JobSettings())


def die(store: JobStore, client: redis.Redis, *jobs: Job) -> Reaped:
    """The process that holds these jobs dies, and is noticed."""
    for job in jobs:
        end_lease(client, job)
    return store.reap()


def deaths(client: redis.Redis, job: Job) -> tuple[str | None, ...]:
    """The job's strikes and shared deaths."""
    return tuple(client.hmget(f"darkroom:job:{job.id}", "strikes", "shared_deaths"))


def make_suspect(store: JobStore, client: redis.Redis, **changes: object) -> Job:
    job = submit_job(store, **changes)
    assert run_one(store, worker="dead", tier=job.tier, suspects_last=True).job.id == job.id
    die(store, client, job)
    return job


def test_three_deaths_alone_convict(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    for worker in ("w1", "w2", "w3"):
        run_one(store, worker=worker)
        reaped = die(store, redis_client, job)

    failed = read_job(store, job)
    assert reaped == Reaped(failed=1)
    assert (failed.status, failed.error and failed.error.code) == (S.FAILED, "poison")


def test_jobs_that_die_together_get_no_strike(store: JobStore, redis_client: redis.Redis) -> None:
    jobs = [submit_job(store) for _ in range(3)]
    for _ in jobs:
        run_one(store)

    die(store, redis_client, *jobs)

    assert {deaths(redis_client, job) for job in jobs} == {("0", "1")}


def test_a_death_in_company_stays_one_where_leases_run_out_one_by_one(
    store: JobStore, redis_client: redis.Redis
) -> None:
    jobs = [submit_job(store) for _ in range(3)]
    for _ in jobs:
        run_one(store)

    for job in jobs:
        die(store, redis_client, job)

    assert {deaths(redis_client, job) for job in jobs} == {("0", "1")}


def test_a_job_that_outlived_its_neighbours_died_alone(store: JobStore, redis_client: redis.Redis) -> None:
    first, second = submit_job(store), submit_job(store)
    claim = run_one(store)
    run_one(store)
    store.commit(claim, status=S.SUCCEEDED, images=[make_image()])

    die(store, redis_client, second)

    assert first.id == claim.job.id
    assert deaths(redis_client, second) == ("1", "0")


def test_after_two_shared_deaths_a_job_runs_by_itself(store: JobStore, redis_client: redis.Redis) -> None:
    jobs = [submit_job(store) for _ in range(2)]
    for worker in ("w1", "w2"):
        for _ in jobs:
            run_one(store, worker=worker)
        die(store, redis_client, *jobs)

    run_one(store, worker="w3")

    with pytest.raises(ClaimHeld):
        claim_next(store, worker="w3")
    assert run_one(store, worker="w4").job.id in {job.id for job in jobs}


def test_a_release_is_no_death(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    for _ in range(30):
        store.release(run_one(store))

    assert read_job(store, job).status is S.QUEUED
    assert deaths(redis_client, job) == ("0", "0")


def test_a_process_that_broke_counts_as_dead_for_all_it_had_in_hand(store: JobStore, redis_client: redis.Redis) -> None:
    jobs = [submit_job(store) for _ in range(2)]
    claims = [run_one(store) for _ in jobs]

    for claim in claims:
        store.release(claim, broke=True)

    assert {deaths(redis_client, job) for job in jobs} == {("0", "1")}


def test_a_job_that_breaks_each_process_alone_is_convicted(store: JobStore) -> None:
    job = submit_job(store)
    for worker in ("w1", "w2", "w3"):
        claim = run_one(store, worker=worker)
        store.release(claim, broke=True)
        store.renew([claim])  # a heartbeat that was on its way takes nothing back

    error = read_job(store, job).error
    assert error is not None
    assert error.code == "poison"


def test_a_worker_that_comes_back_takes_its_strike_back(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    claim = run_one(store)
    die(store, redis_client, job)
    assert deaths(redis_client, job) == ("1", "0")

    assert store.renew([claim, claim]) == {job.id: Lease.LOST}

    assert deaths(redis_client, job) == ("0", "0")


def test_a_worker_that_came_back_dies_anew(store: JobStore, redis_client: redis.Redis) -> None:
    first = submit_job(store)
    run_one(store, worker="w1")
    die(store, redis_client, first)  # in truth w1 only stood still: it goes on with others
    run_one(store, worker="w2")
    others = [submit_job(store) for _ in range(2)]
    for _ in others:
        run_one(store, worker="w1")

    die(store, redis_client, *others)

    assert {deaths(redis_client, job) for job in others} == {("0", "1")}


def test_suspects_come_first_and_alone(store: JobStore, redis_client: redis.Redis) -> None:
    submit_job(store)
    blocker = run_one(store, worker="w1")
    suspect = make_suspect(store, redis_client)
    waiting = submit_job(store)

    with pytest.raises(ClaimHeld):  # w1 has to finish what it has
        claim_next(store, worker="w1")
    store.commit(blocker, status=S.SUCCEEDED)
    claim = run_one(store, worker="w1")
    assert claim.job.id == suspect.id
    with pytest.raises(ClaimHeld):
        claim_next(store, worker="w1")
    store.commit(claim, status=S.SUCCEEDED, images=[make_image()])

    assert run_one(store, worker="w1").job.id == waiting.id


def test_while_processes_die_of_other_things_a_death_alone_is_no_strike(
    store: JobStore, redis_client: redis.Redis
) -> None:
    suspect = make_suspect(store, redis_client)
    for worker in ("k1", "k2", "k3"):
        pair = [submit_job(store) for _ in range(2)]
        for _ in pair:
            run_one(store, worker=worker, suspects_last=True)
        die(store, redis_client, *pair)
        for job in pair:
            store.cancel(job.id, owner="ada")

    assert run_one(store, worker="w1").job.id == suspect.id
    die(store, redis_client, suspect)
    assert deaths(redis_client, suspect) == ("1", "0")

    for worker in ("k1", "k2", "k3"):  # long ago
        redis_client.zadd("darkroom:unrest", {worker: 1}, xx=True)
    assert run_one(store, worker="w2").job.id == suspect.id
    die(store, redis_client, suspect)
    assert deaths(redis_client, suspect) == ("2", "0")


def test_guilty_jobs_are_not_each_others_excuse(store: JobStore, redis_client: redis.Redis) -> None:
    suspects = [submit_job(store, owner=f"owner-{number}") for number in range(6)]
    for job in suspects:
        assert run_one(store, worker=f"of-{job.owner}", suspects_last=True).job.id == job.id
    die(store, redis_client, *suspects)  # of six workers at once
    for worker in redis_client.zrange("darkroom:unrest", 0, -1):  # two leases later
        redis_client.zadd("darkroom:unrest", {worker: 1}, xx=True)
    for number in range(18):
        if claim := claim_next(store, worker=f"w{number}"):
            die(store, redis_client, claim.job)

    assert {read_job(store, job).status for job in suspects} == {S.FAILED}


def test_an_idle_worker_takes_a_suspect_at_once_and_others_go_on(store: JobStore, redis_client: redis.Redis) -> None:
    suspect = make_suspect(store, redis_client)
    others = [submit_job(store) for _ in range(2)]

    assert run_one(store, worker="w1").job.id == suspect.id
    assert [run_one(store, worker="w2").job.id for _ in others] == [job.id for job in others]


def test_one_worker_at_a_time_empties_itself(store: JobStore, redis_client: redis.Redis) -> None:
    for worker in ("w1", "w2"):
        submit_job(store)
        run_one(store, worker=worker)
    make_suspect(store, redis_client)
    ready = submit_job(store)

    with pytest.raises(ClaimHeld):
        claim_next(store, worker="w1")

    assert run_one(store, worker="w2").job.id == ready.id
    assert 0 < redis_client.ttl("darkroom:drain:standard") <= 10


def test_a_worker_that_empties_itself_takes_nothing_of_another_tier(store: JobStore, redis_client: redis.Redis) -> None:
    submit_job(store)
    run_one(store, worker="w1")
    suspect = make_suspect(store, redis_client)
    submit_job(store, tier=Tier.PREVIEW)
    with pytest.raises(ClaimHeld):
        claim_next(store, worker="w1")

    with pytest.raises(ClaimHeld):
        claim_next(store, worker="w1", tier=Tier.PREVIEW)

    store.cancel(suspect.id, owner="ada")
    assert claim_next(store, worker="w1") is None
    assert run_one(store, worker="w1", tier=Tier.PREVIEW)


def test_a_worker_does_not_empty_itself_for_what_it_can_not_run(store: JobStore, redis_client: redis.Redis) -> None:
    submit_job(store)
    run_one(store, worker="w1")
    make_suspect(store, redis_client, params=make_params(model="other"))
    ready = submit_job(store)

    assert run_one(store, worker="w1", models={"tiny"}).job.id == ready.id


def test_a_worker_that_rests_from_suspects_takes_others_first(store: JobStore, redis_client: redis.Redis) -> None:
    suspect = make_suspect(store, redis_client)
    ready = submit_job(store)

    first = run_one(store, worker="w1", suspects_last=True)
    with pytest.raises(ClaimHeld):
        claim_next(store, worker="w1", suspects_last=True)
    store.commit(first, status=S.SUCCEEDED)

    assert first.job.id == ready.id
    assert run_one(store, worker="w1", suspects_last=True).job.id == suspect.id


def test_a_repeated_claim_of_a_suspect_brings_it_again(store: JobStore, redis_client: redis.Redis) -> None:
    make_suspect(store, redis_client)

    first, again = (run_one(store, worker="w1", nonce="n") for _ in range(2))

    assert isinstance(first, Claim)
    assert first == again


def test_suspects_are_counted_claimable_cancellable_and_expire(store: JobStore, redis_client: redis.Redis) -> None:
    first, second = (make_suspect(store, redis_client) for _ in range(2))
    assert (store.claimable(Tier.STANDARD), store.counts()[Tier.STANDARD].queued) == (2, 2)

    store.cancel(first.id, owner="ada")
    redis_client.hset(f"darkroom:job:{second.id}", "deadline_at", "1")

    assert claim_next(store) is None
    assert [read_job(store, job).status for job in (first, second)] == [S.CANCELLED, S.EXPIRED]
    assert store.claimable(Tier.STANDARD) == 0


def test_a_cancelled_or_late_job_is_not_convicted(store: JobStore, redis_client: redis.Redis) -> None:
    cancelled = make_suspect(store, redis_client, owner="bo")
    late = submit_job(store, deadline_seconds=60)
    for job, worker in ((cancelled, "w1"), (cancelled, "w2"), (late, "w3")):
        claim = run_one(store, worker=worker)
        assert claim.job.id == job.id
        if worker == "w2":
            store.cancel(job.id, owner="bo")
        if job is late:
            pass_deadline(redis_client, job)
        die(store, redis_client, job)

    assert [read_job(store, job).status for job in (cancelled, late)] == [S.CANCELLED, S.EXPIRED]


def test_isolation_leaves_nothing_behind_but_what_expires(store: JobStore, redis_client: redis.Redis) -> None:
    suspect = make_suspect(store, redis_client)
    store.commit(run_one(store, worker="w1"), status=S.SUCCEEDED, images=[make_image()])

    names = {"darkroom:own:w1", "darkroom:own:dead", "darkroom:suspects:standard", "darkroom:draining:w1"}
    assert names.isdisjoint(redis_client.keys("*"))
    assert redis_client.ttl("darkroom:dead:dead") > 0
    assert redis_client.ttl("darkroom:unrest") > 0
    assert read_job(store, suspect).status is S.SUCCEEDED
