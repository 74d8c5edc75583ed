"""Files that no record names are deleted, and no others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import redis

from darkroom.job_ids import new_job_id
from darkroom.job_store import JobStore
from darkroom.jobs import JobStatus
from darkroom.object_store import LocalObjectStore, ObjectStore, input_key, output_key, record_key
from tests.darkroom.factories import make_image, make_job, run_one
from tests.darkroom.passing_time import end_lease
from worker import orphans as module
from worker.orphans import PLACES, Orphans

HOUR = 3600.0


def sweep_all(jobs: JobStore, objects: ObjectStore, *, age_seconds: float = 0.0) -> int:
    orphans = Orphans(jobs, objects, age_seconds=age_seconds)
    return sum(orphans.sweep() for _ in PLACES)


def put(objects: ObjectStore, *keys: str) -> None:
    for key in keys:
        objects.put(key, b"pixels", "image/png")


def keys(objects: ObjectStore) -> list[str]:
    return [file.key for place in PLACES for file in objects.list_files(place, after="", limit=1_000)]


def test_files_of_a_lost_attempt_go_and_those_of_the_committed_one_stay(
    jobs: JobStore, objects: LocalObjectStore, redis_client: redis.Redis
) -> None:
    job = jobs.submit(make_job()).job
    run_one(jobs)
    end_lease(redis_client, job)
    jobs.reap()
    claim = run_one(jobs)
    stale, good = (output_key(job.id, attempt, 0, ending="png") for attempt in (1, 2))
    put(objects, stale, good, f"review/{job.id}/1/1.png")
    jobs.commit(claim, status=JobStatus.SUCCEEDED, images=[make_image(key=good)])

    assert sweep_all(jobs, objects) == 2

    assert keys(objects) == [good]


def test_files_of_a_running_attempt_and_inputs_of_any_job_stay(jobs: JobStore, objects: LocalObjectStore) -> None:
    waiting, running = (jobs.submit(make_job()).job for _ in range(2))
    claim = run_one(jobs)
    mine = [output_key(claim.job.id, 1, 0, ending="png"), input_key(waiting.id, "init"), input_key(running.id, "init")]
    put(objects, *mine)

    assert sweep_all(jobs, objects) == 0
    assert sorted(keys(objects)) == sorted(mine)


def test_files_of_a_job_that_was_never_stored_go(jobs: JobStore, objects: LocalObjectStore) -> None:
    put(objects, input_key(new_job_id(), "init"), output_key(new_job_id(), 3, 0, ending="png"))

    assert sweep_all(jobs, objects) == 2

    assert keys(objects) == []


def test_a_job_whose_record_lies_beside_its_files_keeps_them(jobs: JobStore, objects: LocalObjectStore) -> None:
    job_id = new_job_id()
    mine = [output_key(job_id, 3, 0, ending="png"), record_key(job_id)]
    put(objects, *mine)

    assert sweep_all(jobs, objects) == 0
    assert keys(objects) == mine


def test_held_files_of_a_job_that_was_cancelled_in_review_go(jobs: JobStore, objects: LocalObjectStore) -> None:
    job = jobs.submit(make_job()).job
    claim = run_one(jobs)
    put(objects, f"review/{job.id}/1/0.png")
    jobs.commit(claim, status=JobStatus.IN_REVIEW, images=[make_image()])
    assert sweep_all(jobs, objects) == 0

    jobs.cancel(job.id, owner="ada")

    assert sweep_all(jobs, objects) == 1


def test_young_files_stay_and_one_young_file_keeps_its_folder(
    jobs: JobStore, objects: LocalObjectStore, tmp_path: Path
) -> None:
    job_id = new_job_id()
    old, young = (output_key(job_id, 1, index, ending="png") for index in (0, 1))
    put(objects, old, young)
    os.utime(tmp_path / "objects" / old, (1, 1))
    assert sweep_all(jobs, objects, age_seconds=HOUR) == 0

    os.utime(tmp_path / "objects" / young, (1, 1))

    assert sweep_all(jobs, objects, age_seconds=HOUR) == 1


def test_the_sweep_comes_to_every_page(
    jobs: JobStore, objects: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    put(objects, *(output_key(new_job_id(), 1, 0, ending="png") for _ in range(5)))
    orphans = Orphans(jobs, objects, age_seconds=0.0)

    assert [orphans.sweep() for _ in range(3)] == [2, 2, 1]


def test_pages_are_looked_at_now_and_then_only(jobs: JobStore, objects: LocalObjectStore) -> None:
    orphans = Orphans(jobs, objects, age_seconds=HOUR)
    put(objects, output_key(new_job_id(), 1, 0, ending="png"))
    sooner = Orphans(jobs, objects, age_seconds=0.0)

    assert (orphans.sweep_when_due(), orphans.sweep_when_due()) == (0, 0)
    assert sooner.sweep_when_due() == 1
