"""What was kept long enough goes, with all its files, and only once however many processes there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import redis

from darkroom.job_archive import JobArchive
from darkroom.job_store import JobStore
from darkroom.jobs import Job, JobStatus
from darkroom.metrics import Metrics
from darkroom.object_store import LocalObjectStore, input_key
from darkroom.params import StoredImage
from darkroom.settings import JobSettings
from tests.darkroom.factories import make_image, make_job, make_params, run_one
from tests.darkroom.passing_time import pass_retention, pass_stay
from tests.fixtures.processes import eventually
from tests.fixtures.secret_file import SEALER
from worker.retention import Retention

ENOUGH = 250  # jobs: more than one portion


@pytest.fixture
def jobs(redis_client: redis.Redis, objects: LocalObjectStore) -> JobStore:
    return JobStore(redis_client, JobSettings(), SEALER, JobArchive(objects, SEALER))


def make_retention(
    jobs: JobStore, objects: LocalObjectStore, client: redis.Redis, *, name: str = "one", seconds: float = 0.05
) -> Retention:
    return Retention(jobs, objects, client, name=name, seconds=seconds, metrics=Metrics())


def done(retention: Retention, action: str) -> float:
    wanted = {"action": action}
    return retention._metrics.registry.get_sample_value("darkroom_reaper_actions_total", wanted) or 0.0


def ended(jobs: JobStore, objects: LocalObjectStore) -> Job:
    """A job with files in every place."""
    job = jobs.submit(make_job()).job
    claim = run_one(jobs)
    for place in ("outputs", "review"):
        objects.put(f"{place}/{job.id}/1/0.png", b"pixels", "image/png")
    objects.put(input_key(job.id, "init"), b"pixels", "image/png")
    jobs.commit(claim, status=JobStatus.SUCCEEDED, images=[make_image()])
    return job


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_an_old_job_goes_with_its_released_its_held_and_its_input_files(
    jobs: JobStore, objects: LocalObjectStore, redis_client: redis.Redis, tmp_path: Path
) -> None:
    pass_retention(redis_client, ended(jobs, objects))

    assert make_retention(jobs, objects, redis_client).tidy()

    assert files(tmp_path) == []
    assert jobs.list_jobs("ada").jobs == ()


def test_a_job_that_never_ran_costs_no_call_to_the_object_store(
    jobs: JobStore, objects: LocalObjectStore, redis_client: redis.Redis, tmp_path: Path
) -> None:
    job = jobs.submit(make_job(status=JobStatus.BLOCKED)).job
    pass_retention(redis_client, job)
    (tmp_path / "a file").write_bytes(b"")
    broken = LocalObjectStore(tmp_path / "a file" / "objects", public_url="http://127.0.0.1", secret=b"0" * 16)

    assert make_retention(jobs, broken, redis_client).tidy()

    assert jobs.list_jobs("ada").jobs == ()


def test_the_picture_of_a_job_that_never_ran_goes(
    jobs: JobStore, objects: LocalObjectStore, redis_client: redis.Redis, tmp_path: Path
) -> None:
    job = make_job()
    picture = StoredImage(key=input_key(job.id, "init"), sha256="0" * 64, width=64, height=64)
    job = jobs.submit(replace(job, params=make_params(init_image=picture))).job
    objects.put(input_key(job.id, "init"), b"pixels", "image/png")
    jobs.cancel(job.id, owner=job.owner)
    pass_retention(redis_client, job)

    make_retention(jobs, objects, redis_client).tidy()

    assert files(tmp_path) == []


def test_more_than_a_portion_goes_without_a_pause(
    jobs: JobStore, objects: LocalObjectStore, redis_client: redis.Redis
) -> None:
    for _ in range(ENOUGH):
        pass_retention(redis_client, jobs.submit(make_job(status=JobStatus.BLOCKED)).job)
    retention = make_retention(jobs, objects, redis_client, seconds=5.0)

    pauses = [retention.round() for _ in range(4)]

    assert pauses == [0.0, 0.0, 0.0, 5.0]
    assert done(retention, "removed") == ENOUGH


def test_records_move_beside_their_images(jobs: JobStore, objects: LocalObjectStore, redis_client: redis.Redis) -> None:
    job = ended(jobs, objects)
    pass_stay(redis_client, job)
    retention = make_retention(jobs, objects, redis_client)

    retention.start()

    eventually(lambda: not redis_client.exists(f"darkroom:job:{job.id}"), seconds=5)
    retention.stop()
    assert jobs.get(job.id, owner=job.owner).status is JobStatus.SUCCEEDED
    assert done(retention, "archived") == 1


def test_one_process_does_it_until_it_leaves(
    jobs: JobStore, objects: LocalObjectStore, redis_client: redis.Redis
) -> None:
    first, second = (make_retention(jobs, objects, redis_client, name=name) for name in ("one", "two"))
    first.start()
    eventually(lambda: redis_client.get("darkroom:retention") == "one", seconds=5)
    pass_retention(redis_client, ended(jobs, objects))

    assert second.round() > 0
    assert done(second, "removed") == 0
    first.stop()
    pass_retention(redis_client, ended(jobs, objects))

    assert second.round() == 0.0
    assert done(first, "removed") + done(second, "removed") == 2


def test_an_outage_of_the_object_store_ends_nothing(
    jobs: JobStore, objects: LocalObjectStore, redis_client: redis.Redis, tmp_path: Path
) -> None:
    pass_retention(redis_client, ended(jobs, objects))
    (tmp_path / "a file").write_bytes(b"")
    broken = LocalObjectStore(tmp_path / "a file" / "objects", public_url="http://127.0.0.1", secret=b"0" * 16)

    assert make_retention(jobs, broken, redis_client, seconds=5.0).round() == 5.0
    assert "0.png" in files(tmp_path)

    assert make_retention(jobs, objects, redis_client).round() == 0.0
    assert "0.png" not in files(tmp_path)
