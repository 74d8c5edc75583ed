"""Dead workers' jobs come back, and there are tickets for them."""

from __future__ import annotations

from pathlib import Path

import redis

from darkroom.job_store import JobStore
from darkroom.jobs import JobStatus, Tier
from darkroom.metrics import Metrics
from darkroom.object_store import LocalObjectStore, input_key
from darkroom.settings import JobSettings
from darkroom.tickets import MAX_WAITING, TicketOffice
from tests.darkroom.factories import make_image, make_job, run_one
from tests.fixtures.processes import eventually
from worker.reaper import Reaper


def make_reaper(jobs: JobStore, office: TicketOffice, objects: LocalObjectStore, *tiers: Tier) -> Reaper:
    wanted = tiers or tuple(Tier)
    return Reaper(jobs, office, objects, tiers=wanted, seconds=0.05, metrics=Metrics())


def test_a_job_whose_worker_died_is_queued_again_with_a_ticket(
    jobs: JobStore, office: TicketOffice, objects: LocalObjectStore
) -> None:
    job = jobs.submit(make_job()).job
    run_one(jobs, lease_seconds=0.1)
    reaper = make_reaper(jobs, office, objects)

    reaper.start()

    eventually(lambda: jobs.get(job.id, owner="ada").status is JobStatus.QUEUED, seconds=5)
    eventually(lambda: office.waiting(Tier.STANDARD) == 1, seconds=5)
    reaper.stop()


def test_tickets_are_topped_up_to_the_waiting_jobs_and_no_further(
    jobs: JobStore, office: TicketOffice, objects: LocalObjectStore
) -> None:
    for _ in range(3):
        jobs.submit(make_job())
    reaper = make_reaper(jobs, office, objects)

    reaper.top_up()
    reaper.top_up()

    assert office.waiting(Tier.STANDARD) == 3
    assert MAX_WAITING > 3


def test_a_worker_tops_up_only_the_tiers_it_serves(
    jobs: JobStore, office: TicketOffice, objects: LocalObjectStore
) -> None:
    jobs.submit(make_job(tier=Tier.QUALITY))

    make_reaper(jobs, office, objects, Tier.PREVIEW).top_up()

    assert office.waiting(Tier.QUALITY) == 0


def test_an_old_record_goes_with_its_released_its_held_and_its_input_files(
    redis_client: redis.Redis, office: TicketOffice, objects: LocalObjectStore, tmp_path: Path
) -> None:
    # Older than the shortest legal retention can't be waited for, so the settings are built past their own bound.
    jobs = JobStore(
        redis_client, JobSettings.model_construct(**{**JobSettings().model_dump(), "result_ttl_seconds": 0})
    )
    job = jobs.submit(make_job()).job
    claim = run_one(jobs)
    for place in ("outputs", "review"):
        objects.put(f"{place}/{job.id}/1/0.png", b"pixels", "image/png")
    objects.put(input_key(job.id, "init"), b"pixels", "image/png")
    jobs.commit(claim, status=JobStatus.SUCCEEDED, images=[make_image()])

    make_reaper(jobs, office, objects).reap()

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert jobs.list_jobs("ada").jobs == ()


def test_tickets_are_issued_although_the_object_store_is_away(
    redis_client: redis.Redis, office: TicketOffice, tmp_path: Path
) -> None:
    jobs = JobStore(
        redis_client, JobSettings.model_construct(**{**JobSettings().model_dump(), "result_ttl_seconds": 0})
    )
    jobs.submit(make_job())
    jobs.commit(run_one(jobs), status=JobStatus.SUCCEEDED)
    jobs.submit(make_job())
    (tmp_path / "a file").write_bytes(b"")
    broken = LocalObjectStore(tmp_path / "a file" / "objects", public_url="http://127.0.0.1", secret=b"0" * 16)
    reaper = make_reaper(jobs, office, broken)

    reaper.start()

    eventually(lambda: office.waiting(Tier.STANDARD) == 1, seconds=5)
    reaper.stop()
