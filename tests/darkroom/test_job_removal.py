"""The end of an ended job: archived, deleted by its owner, removed by retention. And a kill between any two steps."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
import redis

from darkroom.async_job_store import AsyncJobStore
from darkroom.errors import JobGone, JobNotCancellable, JobNotEnded, JobNotFound, ObjectStoreUnavailable
from darkroom.job_archive import JobArchive
from darkroom.job_store import IdempotencyKey, JobStore, Tidied
from darkroom.jobs import Job, JobStatus
from darkroom.object_store import LocalObjectStore, delete_job_files, record_key
from darkroom.redis_client import make_async_redis
from darkroom.settings import JobSettings, RedisSettings
from tests.darkroom.factories import make_image, make_job, make_params, read_job, run_one, submit_job
from tests.darkroom.passing_time import pass_retention, pass_stay, pass_sweep_time
from tests.fixtures.secret_file import SEALER

S = JobStatus
PROMPT = "kanarienvogel"


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path, public_url="http://127.0.0.1", secret=b"0" * 16)


@pytest.fixture
def archive(objects: LocalObjectStore) -> JobArchive:
    return JobArchive(objects, SEALER)


@pytest.fixture
def store(redis_client: redis.Redis, archive: JobArchive) -> JobStore:
    return JobStore(redis_client, JobSettings(), SEALER, archive)


def ended(store: JobStore, objects: LocalObjectStore) -> Job:
    """A job with an image, as its owner reads it."""
    job = submit_job(store, params=make_params(prompt=PROMPT))
    key = f"outputs/{job.id}/1/0.png"
    objects.put(key, b"pixels", "image/png")
    store.commit(run_one(store), status=S.SUCCEEDED, images=[make_image(key=key)])
    return read_job(store, job)


def names(client: redis.Redis, job: Job) -> list[str]:
    return [name for name in client.keys("*") if job.id in name]


def test_archived_job_reads_as_before(
    store: JobStore, objects: LocalObjectStore, redis_client: redis.Redis, redis_settings: RedisSettings
) -> None:
    job = ended(store, objects)
    pass_stay(redis_client, job)

    assert store.tidy(_refuse) == Tidied(archived=1)

    assert names(redis_client, job) == []
    assert read_job(store, job) == job
    assert asyncio.run(_read_async(redis_settings, job, store)) == job
    assert PROMPT.encode() not in objects.get(record_key(job.id))
    with pytest.raises(JobNotFound):
        store.get(job.id, owner="ben")
    with pytest.raises(JobNotCancellable):
        store.cancel(job.id, owner="ada")
    with pytest.raises(JobNotFound):
        store.cancel(job.id, owner="ben")


def test_archived_job_is_listed_until_retention_removes_it(
    store: JobStore, objects: LocalObjectStore, redis_client: redis.Redis, redis_settings: RedisSettings
) -> None:
    job = ended(store, objects)
    pass_stay(redis_client, job)
    store.tidy(_refuse)
    young = submit_job(store)

    assert store.list_jobs("ada").jobs == (read_job(store, young), job)
    assert store.list_jobs("ada", status=S.SUCCEEDED).jobs == (job,)
    assert store.list_jobs("ada", status=S.FAILED).jobs == ()
    assert asyncio.run(_list_async(redis_settings, store)) == store.list_jobs("ada").jobs

    objects.delete_prefix(f"outputs/{job.id}/")
    assert store.list_jobs("ada").jobs == (read_job(store, young),)


async def _list_async(settings: RedisSettings, store: JobStore) -> tuple[Job, ...]:
    async with make_async_redis(settings) as client:
        page = await AsyncJobStore(client, JobSettings(), SEALER, store._archive).list_jobs("ada")
        await client.connection_pool.disconnect()
        return page.jobs


async def _read_async(settings: RedisSettings, job: Job, store: JobStore) -> Job:
    async with make_async_redis(settings) as client:
        read = await AsyncJobStore(client, JobSettings(), SEALER, store._archive).get(job.id, owner=job.owner)
        await client.connection_pool.disconnect()
        return read


def test_young_and_living_jobs_stay(store: JobStore, objects: LocalObjectStore) -> None:
    ended(store, objects)
    submit_job(store)

    assert store.tidy(_refuse) == Tidied()


def test_record_stays_as_long_as_a_replay_may_ask_for_it(
    redis_client: redis.Redis, archive: JobArchive, objects: LocalObjectStore
) -> None:
    settings = JobSettings(archive_seconds=1, idempotency_ttl_seconds=60)
    store = JobStore(redis_client, settings, SEALER, archive)
    job = make_job(status=S.BLOCKED)
    store.submit(job, idempotency=IdempotencyKey("key", "body"))
    redis_client.zincrby("darkroom:ended", -30, job.id)

    assert store.tidy(_refuse) == Tidied()

    redis_client.zincrby("darkroom:ended", -31, job.id)
    assert store.tidy(_refuse) == Tidied(archived=1)


class Killed(Exception):
    """The process ended here."""


@pytest.mark.parametrize("written", [False, True])
def test_kill_while_a_record_moves_loses_nothing(
    store: JobStore,
    archive: JobArchive,
    objects: LocalObjectStore,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    written: bool,
) -> None:
    job = ended(store, objects)
    pass_stay(redis_client, job)
    put = JobArchive.put

    def die(self: JobArchive, record: dict[str, str]) -> None:
        if written:
            put(self, record)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(JobArchive, "put", die)
        with pytest.raises(Killed):
            store.tidy(_refuse)

    assert read_job(store, job) == job
    assert store.tidy(_refuse) == Tidied(archived=1)
    assert read_job(store, job) == job


def test_retention_removes_an_archived_job_with_its_files(
    store: JobStore, objects: LocalObjectStore, redis_client: redis.Redis, tmp_path: Path
) -> None:
    job = ended(store, objects)
    pass_stay(redis_client, job)
    store.tidy(_refuse)
    pass_retention(redis_client, job)

    assert store.tidy(partial(delete_job_files, objects)) == Tidied(removed=1, swept=1)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert names(redis_client, job) == [f"darkroom:gone:{job.id}"]
    with pytest.raises(JobGone):
        read_job(store, job)


def test_archived_job_whose_files_are_just_going_is_not_there(
    store: JobStore, objects: LocalObjectStore, redis_client: redis.Redis
) -> None:
    job = ended(store, objects)
    pass_stay(redis_client, job)
    store.tidy(_refuse)
    objects.delete_prefix(f"outputs/{job.id}/")

    with pytest.raises(JobNotFound):
        read_job(store, job)


def test_retention_is_the_jobs_own_where_it_has_one(store: JobStore, redis_client: redis.Redis) -> None:
    brief, plain = make_job(status=S.BLOCKED), make_job(status=S.BLOCKED)
    store.submit(brief, retention_seconds=0)
    store.submit(plain)

    assert store.tidy(_refuse) == Tidied(removed=1)

    assert read_job(store, plain).status is S.BLOCKED
    kept = redis_client.zscore("darkroom:expiring", plain.id) - read_job(store, plain).finished_at
    assert kept == pytest.approx(JobSettings().result_ttl_seconds, abs=0.01)


@pytest.mark.parametrize("archived", [False, True])
def test_deleted_job_is_gone_for_its_owner_and_never_was_for_others(
    store: JobStore, objects: LocalObjectStore, redis_client: redis.Redis, archived: bool
) -> None:
    job = ended(store, objects)
    if archived:
        pass_stay(redis_client, job)
        store.tidy(_refuse)
    with pytest.raises(JobNotFound):
        store.delete(job.id, owner="ben")
    assert read_job(store, job) == job

    store.delete(job.id, owner="ada")

    for call in (store.get, store.delete, store.cancel):
        with pytest.raises(JobGone):
            call(job.id, owner="ada")
        with pytest.raises(JobNotFound):
            call(job.id, owner="ben")
    assert store.list_jobs("ada").jobs == ()
    store.swept(job.id)
    assert names(redis_client, job) == [f"darkroom:gone:{job.id}"]
    assert 0 < redis_client.ttl(f"darkroom:gone:{job.id}") <= JobSettings().gone_seconds


def test_a_file_that_can_not_be_deleted_keeps_no_record_from_moving(
    store: JobStore, objects: LocalObjectStore, redis_client: redis.Redis
) -> None:
    stuck, old = ended(store, objects), ended(store, objects)
    store.delete(stuck.id, owner="ada")
    pass_sweep_time(redis_client, stuck)
    pass_stay(redis_client, old)

    with pytest.raises(ObjectStoreUnavailable):
        store.tidy(_refuse)

    assert names(redis_client, old) == []
    assert read_job(store, old) == old
    assert redis_client.zcard("darkroom:unswept") == 1


def test_living_job_is_not_deleted(store: JobStore) -> None:
    job = submit_job(store)

    with pytest.raises(JobNotEnded):
        store.delete(job.id, owner="ada")
    run_one(store)
    with pytest.raises(JobNotEnded):
        store.delete(job.id, owner="ada")

    assert read_job(store, job).status is S.RUNNING


def test_kill_between_record_and_objects_leaves_the_objects_to_the_reaper(
    store: JobStore, objects: LocalObjectStore, redis_client: redis.Redis, tmp_path: Path
) -> None:
    job = ended(store, objects)
    store.delete(job.id, owner="ada")
    store.tidy(partial(delete_job_files, objects))
    assert objects.get(f"outputs/{job.id}/1/0.png")  # whoever deleted the job has a minute for that

    pass_sweep_time(redis_client, job)
    with pytest.raises(ObjectStoreUnavailable):
        store.tidy(_refuse)
    store.tidy(partial(delete_job_files, objects))

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert redis_client.zcard("darkroom:unswept") == 0


def _refuse(_job_id: str) -> None:
    raise ObjectStoreUnavailable


def test_no_trace_where_none_is_wanted(redis_client: redis.Redis) -> None:
    store = JobStore(redis_client, JobSettings(gone_seconds=0))
    job = make_job(status=S.BLOCKED)
    store.submit(job)

    store.delete(job.id, owner="ada")

    with pytest.raises(JobNotFound):
        read_job(store, job)


def test_record_from_before_retention_stood_in_it_is_kept_a_week_more(
    store: JobStore, redis_client: redis.Redis
) -> None:
    job = make_job(status=S.BLOCKED)
    store.submit(job)
    redis_client.hdel(f"darkroom:job:{job.id}", "retention")
    redis_client.zrem("darkroom:expiring", job.id)
    pass_stay(redis_client, job)

    assert store.tidy(_refuse) == Tidied(archived=1)

    kept = redis_client.zscore("darkroom:expiring", job.id) - read_job(store, job).finished_at
    assert kept == pytest.approx(7 * 24 * 3600, abs=0.01)
