"""Leases of one process, and the news they bring."""

from __future__ import annotations

import time

import pytest
import redis

from darkroom.job_store import JobStore, Lease
from darkroom.metrics import Metrics
from darkroom.redis_client import make_redis
from darkroom.settings import JobSettings, RedisSettings
from tests.darkroom.factories import make_job, run_one
from tests.fixtures.processes import eventually
from worker.heartbeat import Heartbeat


@pytest.fixture
def heartbeat(jobs: JobStore) -> Heartbeat:
    return Heartbeat(jobs, seconds=0.05, metrics=Metrics())


def test_a_watched_job_outlives_its_lease(jobs: JobStore, heartbeat: Heartbeat) -> None:
    jobs.submit(make_job())
    claim = run_one(jobs, lease_seconds=0.3)
    heartbeat.start()

    with heartbeat.watch(claim) as watch:
        time.sleep(0.6)
        assert jobs.reap().requeued == 0
        assert watch.lease is Lease.KEPT
    heartbeat.stop()


def test_a_job_that_is_no_longer_watched_loses_its_lease(jobs: JobStore, heartbeat: Heartbeat) -> None:
    jobs.submit(make_job())
    claim = run_one(jobs, lease_seconds=0.3)
    heartbeat.start()

    with heartbeat.watch(claim):
        pass

    eventually(lambda: jobs.reap().requeued, seconds=2)
    heartbeat.stop()


def test_each_watch_hears_of_its_own_job_only(jobs: JobStore, heartbeat: Heartbeat) -> None:
    for _ in range(3):
        jobs.submit(make_job())
    kept, cancelled, lost = (run_one(jobs) for _ in range(3))
    jobs.cancel(cancelled.job.id, owner="ada")
    jobs.release(lost)

    with heartbeat.watch(kept) as first, heartbeat.watch(cancelled) as second, heartbeat.watch(lost) as third:
        heartbeat.beat()

    assert (first.lease, second.lease, third.lease) == (Lease.KEPT, Lease.CANCELLED, Lease.LOST)


def test_beats_go_on_after_an_outage(redis_settings: RedisSettings, redis_client: redis.Redis) -> None:
    impatient = redis_settings.model_copy(update={"redis_timeout_seconds": 0.1})
    with make_redis(impatient) as client:
        jobs, metrics = JobStore(client, JobSettings()), Metrics()
        jobs.submit(make_job())
        claim = run_one(jobs)
        heartbeat = Heartbeat(jobs, seconds=0.05, metrics=metrics)
        heartbeat.start()
        with heartbeat.watch(claim) as watch:
            redis_client.execute_command("CLIENT", "PAUSE", "1000", "ALL")
            eventually(lambda: metrics.registry.get_sample_value("darkroom_heartbeat_failures_total"), seconds=5)
            jobs_again = JobStore(redis_client, JobSettings())
            jobs_again.cancel(claim.job.id, owner="ada")

            eventually(lambda: watch.lease is Lease.CANCELLED, seconds=5)
        heartbeat.stop()
        client.connection_pool.disconnect()
