"""What operators do with single jobs of any owner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from darkroom.audit import AuditLog
from darkroom.errors import JobGone, JobNotCancellable, JobNotFound, JobNotRequeueable, NotPermitted
from darkroom.job_archive import JobArchive
from darkroom.job_desk import Filter, JobDesk, list_jobs
from darkroom.job_ids import new_job_id
from darkroom.job_store import Committed, JobStore, Lease
from darkroom.jobs import JobError, JobStatus, Tier
from darkroom.lua_scripts import run_script
from darkroom.object_store import LocalObjectStore
from darkroom.settings import JobSettings
from tests.darkroom.factories import claim_next, make_params, read_job, run_one, submit_job
from tests.darkroom.passing_time import pass_stay
from tests.fixtures.secret_file import SEALER

S = JobStatus
PROMPT = "a red circle on a blue background"


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path, public_url="http://127.0.0.1", secret=b"a secret of tests")


@pytest.fixture
def store(redis_client: redis.Redis, objects: LocalObjectStore) -> JobStore:
    return JobStore(redis_client, JobSettings(), SEALER, JobArchive(objects, SEALER))


@pytest.fixture
def desk(redis_client: redis.Redis, objects: LocalObjectStore) -> JobDesk:
    return JobDesk(redis_client, objects, SEALER)


def deeds(client: redis.Redis) -> list[tuple[str, str, str]]:
    return [(entry.actor, entry.action, entry.subject) for entry in AuditLog(client).unsealed(limit=100)]


def test_jobs_of_every_owner_are_listed_by_what_is_asked(store: JobStore, redis_client: redis.Redis) -> None:
    running = submit_job(store, owner="ada")
    run_one(store)
    waiting = submit_job(store, owner="bob", tier=Tier.QUALITY)
    ended = submit_job(store, owner="bob", params=make_params(model="other"))
    store.cancel(ended.id, owner="bob")

    def listed(**asked: object) -> list[str]:
        return [line["id"] for line in list_jobs(redis_client, Filter(**asked), limit=10)]  # type: ignore[arg-type]

    assert listed() == [waiting.id, running.id, ended.id]
    assert listed(status=S.RUNNING) == [running.id]
    assert listed(status=S.CANCELLED) == listed(model="other") == [ended.id]
    assert listed(owner="bob") == [ended.id, waiting.id]
    assert listed(owner="bob", tier=Tier.QUALITY) == [waiting.id]
    assert len(list_jobs(redis_client, Filter(), limit=2)) == 2


def test_no_list_and_no_look_shows_a_prompt(desk: JobDesk, store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(JobStore(redis_client, JobSettings()))  # with its prompt open, as old records have it
    store.cancel(job.id, owner=job.owner)

    assert PROMPT not in json.dumps([desk.show(job.id), list_jobs(redis_client, Filter(), limit=10)])
    assert deeds(redis_client) == []


def test_whoever_reads_a_prompt_stands_in_the_audit_log(
    desk: JobDesk, store: JobStore, redis_client: redis.Redis
) -> None:
    job = submit_job(store)

    assert desk.read_texts(job.id, person="ann", reason="a complaint").prompt == PROMPT
    assert deeds(redis_client) == [("ann", "job.prompt_read", job.id)]


def test_the_sealed_lists_texts_are_not_shown(desk: JobDesk, store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    store.commit(run_one(store), status=S.BLOCKED, error=JobError(code="prompt_minors", message="Refused."))

    with pytest.raises(NotPermitted):
        desk.read_texts(job.id, person="ann", reason="curiosity")
    assert deeds(redis_client) == []


def test_a_record_in_the_archive_can_be_looked_at(desk: JobDesk, store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    store.cancel(job.id, owner=job.owner)
    pass_stay(redis_client, job)
    assert store.tidy([].append).archived == 1

    assert desk.show(job.id)["status"] == "cancelled"
    assert list_jobs(redis_client, Filter(), limit=10) == []


def test_an_operator_cancels_anybodys_job(desk: JobDesk, store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)

    assert desk.cancel(job.id, person="ann") is S.CANCELLED
    assert read_job(store, job).status is S.CANCELLED
    assert deeds(redis_client) == [("ann", "job.cancelled", job.id)]


def test_an_ended_job_can_be_neither_cancelled_nor_requeued(
    desk: JobDesk, store: JobStore, redis_client: redis.Redis
) -> None:
    job = submit_job(store)
    store.commit(run_one(store), status=S.FAILED, error=JobError(code="out_of_memory", message="No."))

    with pytest.raises(JobNotCancellable):
        desk.cancel(job.id, person="ann")
    with pytest.raises(JobNotRequeueable):
        desk.requeue(job.id, person="ann")
    assert (read_job(store, job).status, deeds(redis_client)) == (S.FAILED, [])


def test_a_requeued_job_leaves_its_worker_and_is_run_once_more(
    desk: JobDesk, store: JobStore, redis_client: redis.Redis
) -> None:
    job = submit_job(store)
    old = run_one(store)

    assert desk.requeue(job.id, person="ann") is S.QUEUED
    assert deeds(redis_client) == [("ann", "job.requeued", job.id)]
    new = run_one(store, worker="w2")
    assert store.renew([old])[job.id] is not Lease.KEPT
    assert store.commit(old, status=S.SUCCEEDED) is Committed.LOST
    assert (new.attempt, store.commit(new, status=S.SUCCEEDED)) == (old.attempt + 1, Committed.DONE)


def test_a_repeated_call_does_not_end_the_attempt_after_it(store: JobStore, redis_client: redis.Redis) -> None:
    job = submit_job(store)
    old = run_one(store)
    assert run_script(redis_client, "requeue", job.id, old.attempt) == ["ok", "queued"]
    new = run_one(store, worker="w2")

    assert run_script(redis_client, "requeue", job.id, old.attempt) == ["ok", "running"]
    assert store.renew([new])[job.id] is Lease.KEPT


def test_a_delayed_job_can_be_claimed_at_once(desk: JobDesk, store: JobStore) -> None:
    job = submit_job(store)
    store.release(run_one(store), not_before_seconds=600, transient=True)
    assert claim_next(store) is None

    assert desk.requeue(job.id, person="ann") is S.QUEUED
    assert run_one(store).job.id == job.id


def test_a_job_whose_cancelling_was_asked_for_is_not_run_again(desk: JobDesk, store: JobStore) -> None:
    job = submit_job(store)
    run_one(store)
    store.cancel(job.id, owner=job.owner)

    assert desk.requeue(job.id, person="ann") is S.CANCELLED


def test_an_unknown_job_and_one_that_is_gone_are_told_apart(desk: JobDesk, store: JobStore) -> None:
    job = submit_job(store)
    store.cancel(job.id, owner=job.owner)
    store.delete(job.id, owner=job.owner)

    with pytest.raises(JobGone):
        desk.show(job.id)
    with pytest.raises(JobNotFound):
        desk.requeue(new_job_id(), person="ann")
