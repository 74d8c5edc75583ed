"""Dead workers' jobs come back, and there are tickets for them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from darkroom.audit import AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.errors import JobStoreUnavailable
from darkroom.job_store import JobStore
from darkroom.jobs import JobStatus, Tier
from darkroom.metrics import Metrics
from darkroom.object_store import LocalObjectStore
from darkroom.redis_client import make_redis
from darkroom.review import ReviewQueue
from darkroom.settings import JobSettings, RedisSettings
from darkroom.tickets import MAX_WAITING, TicketOffice
from tests.darkroom.factories import make_image, make_job, run_one
from tests.darkroom.passing_time import end_lease
from tests.fixtures.processes import eventually
from tests.fixtures.secret_file import SEALER
from worker.orphans import Orphans
from worker.reaper import Reaper


class CountingReaper(Reaper):
    """A reaper whose metrics can be asked."""

    def reaped(self, action: str) -> float:
        wanted = {"action": action}
        return self._metrics.registry.get_sample_value("darkroom_reaper_actions_total", wanted) or 0.0


def make_reaper(jobs: JobStore, office: TicketOffice, *tiers: Tier, grace_seconds: float = 0.0) -> CountingReaper:
    return CountingReaper(
        jobs,
        office,
        tiers=tiers or tuple(Tier),
        seconds=0.05,
        grace_seconds=grace_seconds,
        metrics=Metrics(),
    )


def test_a_job_whose_worker_died_is_queued_again_with_a_ticket(jobs: JobStore, office: TicketOffice) -> None:
    job = jobs.submit(make_job()).job
    run_one(jobs, lease_seconds=0.1)
    reaper = make_reaper(jobs, office)

    reaper.start()

    eventually(lambda: jobs.get(job.id, owner="ada").status is JobStatus.QUEUED, seconds=5)
    eventually(lambda: office.waiting(Tier.STANDARD) == 1, seconds=5)
    reaper.stop()


def test_tickets_are_topped_up_to_the_waiting_jobs_and_no_further(jobs: JobStore, office: TicketOffice) -> None:
    for _ in range(3):
        jobs.submit(make_job())
    reaper = make_reaper(jobs, office)

    reaper.top_up()
    reaper.top_up()

    assert office.waiting(Tier.STANDARD) == 3
    assert MAX_WAITING > 3


def test_a_worker_tops_up_only_the_tiers_it_serves(jobs: JobStore, office: TicketOffice) -> None:
    jobs.submit(make_job(tier=Tier.QUALITY))

    make_reaper(jobs, office, Tier.PREVIEW).top_up()

    assert office.waiting(Tier.QUALITY) == 0


def test_reviews_end_although_the_object_store_is_away(
    jobs: JobStore, office: TicketOffice, objects: LocalObjectStore, redis_client: redis.Redis, tmp_path: Path
) -> None:
    job = jobs.submit(make_job()).job
    jobs.commit(run_one(jobs), status=JobStatus.IN_REVIEW, images=[make_image(decision="review")])
    (tmp_path / "a file").write_bytes(b"")
    broken = LocalObjectStore(tmp_path / "a file" / "objects", public_url="http://127.0.0.1", secret=b"0" * 16)
    reaper = Reaper(
        jobs,
        office,
        tiers=tuple(Tier),
        seconds=0.05,
        grace_seconds=0.0,
        metrics=Metrics(),
        orphans=Orphans(jobs, broken, age_seconds=0),
        review=lambda: ReviewQueue(redis_client, objects, SEALER).expire(after_seconds=0),
    )

    reaper.round()

    assert jobs.get(job.id, owner=job.owner).status is JobStatus.EXPIRED


def test_leases_have_a_grace_after_the_start(jobs: JobStore, office: TicketOffice, redis_client: redis.Redis) -> None:
    job = jobs.submit(make_job()).job
    run_one(jobs)
    end_lease(redis_client, job)
    reaper = make_reaper(jobs, office, grace_seconds=0.4)

    reaper.reap()
    assert jobs.get(job.id, owner="ada").status is JobStatus.RUNNING
    time.sleep(0.4)
    reaper.reap()

    assert jobs.get(job.id, owner="ada").status is JobStatus.QUEUED


def test_leases_have_a_grace_after_an_outage_of_the_store(
    redis_settings: RedisSettings, redis_client: redis.Redis, office: TicketOffice
) -> None:
    impatient = redis_settings.model_copy(update={"redis_timeout_seconds": 0.1})
    with make_redis(impatient) as client:
        jobs = JobStore(client, JobSettings())
        job = jobs.submit(make_job()).job
        run_one(jobs)
        reaper = make_reaper(jobs, office, grace_seconds=0.5)
        time.sleep(0.5)
        redis_client.execute_command("CLIENT", "PAUSE", "1000", "ALL")
        with pytest.raises(JobStoreUnavailable):
            reaper.reap()
        end_lease(redis_client, job)  # waits for the end of the outage

        reaper.reap()

        assert jobs.get(job.id, owner="ada").status is JobStatus.RUNNING
        client.connection_pool.disconnect()


def test_a_reaper_that_itself_stood_still_gives_a_grace(
    jobs: JobStore, office: TicketOffice, redis_client: redis.Redis
) -> None:
    job = jobs.submit(make_job()).job
    run_one(jobs)
    end_lease(redis_client, job)
    reaper = make_reaper(jobs, office, grace_seconds=0.3)

    time.sleep(0.5)  # longer than a round and the grace
    reaper.reap()

    assert jobs.get(job.id, owner="ada").status is JobStatus.RUNNING


def test_any_number_of_reapers_take_a_job_back_once(
    jobs: JobStore, office: TicketOffice, redis_client: redis.Redis
) -> None:
    submitted = [jobs.submit(make_job()).job for _ in range(30)]
    for job in submitted:
        run_one(jobs)
        end_lease(redis_client, job)
    reapers = [make_reaper(jobs, office) for _ in range(4)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(Reaper.reap, reapers))

    counted = sum(reaper.reaped("requeued") for reaper in reapers)
    assert counted == 30
    assert {redis_client.hget(f"darkroom:job:{job.id}", "lost") for job in submitted} == {"1"}


def test_what_nobody_reviewed_is_denied_and_counted(
    jobs: JobStore, office: TicketOffice, objects: LocalObjectStore, redis_client: redis.Redis
) -> None:
    job = jobs.submit(make_job()).job
    jobs.commit(run_one(jobs), status=JobStatus.IN_REVIEW, images=[make_image(decision="review")])
    queue, metrics = ReviewQueue(redis_client, objects, SEALER), Metrics()
    reaper = Reaper(
        jobs,
        office,
        tiers=tuple(Tier),
        seconds=0.05,
        grace_seconds=0.0,
        metrics=metrics,
        audit=AuditSegments(AuditLog(redis_client), objects),
        review=lambda: queue.expire(after_seconds=0),
    )
    reaper.round()

    assert jobs.get(job.id, owner=job.owner).status is JobStatus.EXPIRED
    assert metrics.registry.get_sample_value("darkroom_review_expired_total") == 1
    assert AuditLog(redis_client).unsealed(limit=10)[0].action == "review.expired"  # not an hour old
