"""Legal holds and take-downs on a real Valkey: what is held stays, what is taken down never comes back."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import redis

from darkroom.audit import AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.errors import InvalidParams, JobGone, JobHeld, JobNotFound, ObjectNotFound
from darkroom.job_archive import JobArchive
from darkroom.job_ids import new_job_id
from darkroom.job_store import Filed, JobStore
from darkroom.jobs import Job, JobError, JobStatus
from darkroom.legal_hold import LegalHolds
from darkroom.object_store import LocalObjectStore, delete_job_files
from darkroom.settings import JobSettings
from darkroom.takedown import Takedowns
from tests.darkroom.factories import make_image, make_job, read_job, run_one, submit_job
from tests.darkroom.passing_time import pass_retention, pass_stay
from tests.fixtures.secret_file import SEALER

S = JobStatus


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path, public_url="http://127.0.0.1", secret=b"a secret of tests")


@pytest.fixture
def store(redis_client: redis.Redis, objects: LocalObjectStore) -> JobStore:
    return JobStore(redis_client, JobSettings(), SEALER, JobArchive(objects, SEALER))


@pytest.fixture
def holds(redis_client: redis.Redis) -> LegalHolds:
    return LegalHolds(redis_client, SEALER)


@pytest.fixture
def takedowns(redis_client: redis.Redis, objects: LocalObjectStore) -> Takedowns:
    return Takedowns(redis_client, objects)


def released(store: JobStore, objects: LocalObjectStore, images: int = 2) -> Job:
    job = submit_job(store)
    claim = run_one(store)
    made = []
    for index in range(images):
        key = f"outputs/{job.id}/1/{index}.png"
        objects.put(key, b"pixels", "image/png")
        made.append(make_image(index=index, key=key, looks=f"{index + 1:016x}"))
    store.commit(claim, status=S.SUCCEEDED, images=made)
    return read_job(store, job)


def tidy(store: JobStore, objects: LocalObjectStore) -> None:
    store.tidy(partial(delete_job_files, objects))


@pytest.mark.parametrize("archived", [False, True])
def test_what_is_held_outlives_retention_and_its_owners_wish(
    store: JobStore, objects: LocalObjectStore, holds: LegalHolds, redis_client: redis.Redis, *, archived: bool
) -> None:
    job = released(store, objects)
    if archived:
        pass_stay(redis_client, job)
        tidy(store, objects)
    holds.place(job.id, person="ann", reason="a case")
    pass_retention(redis_client, job)
    redis_client.hset("darkroom:spared", job.id, "1")
    tidy(store, objects)

    with pytest.raises(JobHeld):
        store.delete(job.id, owner=job.owner)
    assert read_job(store, job).id == job.id
    assert objects.get(f"outputs/{job.id}/1/0.png") == b"pixels"
    assert store.filed([(job.id, "7")]) == [Filed.NAMED]
    assert [(hold.job_id, hold.by, hold.reason) for hold in holds.all()] == [(job.id, "ann", "a case")]
    assert "a case" not in str(redis_client.hgetall("darkroom:legal_hold"))

    assert holds.lift(job.id, person="ben")
    tidy(store, objects)
    with pytest.raises(JobGone):
        read_job(store, job)
    with pytest.raises(ObjectNotFound):
        objects.get(f"outputs/{job.id}/1/0.png")


def test_a_job_held_while_it_waits_is_kept_once_it_has_ended(
    store: JobStore, objects: LocalObjectStore, holds: LegalHolds, redis_client: redis.Redis
) -> None:
    job = submit_job(store)
    holds.place(job.id, person="ann", reason="a case")
    store.cancel(job.id, owner=job.owner)

    assert redis_client.zscore("darkroom:expiring", job.id) is None
    assert redis_client.hget("darkroom:spared", job.id)
    holds.lift(job.id, person="ann")
    assert redis_client.zscore("darkroom:expiring", job.id) is not None


def test_a_hold_comes_too_late_for_a_job_that_is_gone(
    store: JobStore, objects: LocalObjectStore, holds: LegalHolds
) -> None:
    job = released(store, objects)
    store.delete(job.id, owner=job.owner)

    with pytest.raises(JobGone):
        holds.place(job.id, person="ann", reason="a case")
    for unknown in (new_job_id(), "x"):
        with pytest.raises(JobNotFound):
            holds.place(unknown, person="ann", reason="a case")
        assert not LegalHolds.is_held(holds, unknown)


def test_what_the_rule_on_minors_refused_is_held_and_listed_apart(
    store: JobStore, objects: LocalObjectStore, holds: LegalHolds, redis_client: redis.Redis
) -> None:
    refused = make_job(status=S.BLOCKED, error=JobError("prompt_minors", "Refused."))
    store.submit(refused)
    store.submit(make_job(status=S.BLOCKED, error=JobError("prompt_hate", "Refused.")))

    assert [job_id for job_id, _ in holds.sealed()] == [refused.id]
    with pytest.raises(JobHeld):
        store.delete(refused.id, owner=refused.owner)
    with pytest.raises(JobHeld):
        holds.lift(refused.id, person="ann")
    assert holds.lift(refused.id, person="ann", sealed=True)
    assert holds.sealed() == []
    store.delete(refused.id, owner=refused.owner)


@pytest.mark.parametrize("archived", [False, True])
def test_an_image_that_is_taken_down_is_withheld_deleted_and_barred(
    store: JobStore,
    objects: LocalObjectStore,
    takedowns: Takedowns,
    redis_client: redis.Redis,
    *,
    archived: bool,
) -> None:
    job = released(store, objects)
    if archived:
        pass_stay(redis_client, job)
        tidy(store, objects)

    for _ in range(2):
        assert takedowns.take_down(job.id, person="ann", reason="a complaint", images=[1]) == [1]

    assert read_job(store, job).withheld == (1,)
    assert objects.get(job.images[0].key) == b"pixels"
    with pytest.raises(ObjectNotFound):
        objects.get(job.images[1].key)
    assert takedowns.barred() == {2}
    assert takedowns.take_down(job.id, person="ann", reason="all of it") == [0, 1]
    segments = AuditSegments(AuditLog(redis_client), objects)
    assert segments.verify().entries == 3
    last = list(segments.entries())[-1]
    assert (last.actor, last.action, json.loads(last.details)["reason"]) == ("ann", "takedown", "all of it")


def test_a_take_down_under_a_hold_keeps_the_file_where_no_link_leads(
    store: JobStore, objects: LocalObjectStore, takedowns: Takedowns, holds: LegalHolds
) -> None:
    job = released(store, objects, images=1)
    holds.place(job.id, person="ann", reason="a case")

    takedowns.take_down(job.id, person="ann", reason="a complaint")

    with pytest.raises(ObjectNotFound):
        objects.get(job.images[0].key)
    assert objects.get(f"held/{job.images[0].key}") == b"pixels"


def test_a_take_down_names_images_that_there_are(
    store: JobStore, objects: LocalObjectStore, takedowns: Takedowns
) -> None:
    job = released(store, objects)

    with pytest.raises(InvalidParams):
        takedowns.take_down(job.id, person="ann", reason="x", images=[2])
    with pytest.raises(JobNotFound):
        takedowns.take_down(new_job_id(), person="ann", reason="x")
    assert takedowns.unbar(1) is False
