"""The region's name: on every job that an installation takes, whatever it was made from, and on its metrics."""

from __future__ import annotations

import redis
from prometheus_client import generate_latest

from darkroom.job_store import JobStore
from darkroom.jobs import Job
from darkroom.metrics import Metrics
from darkroom.settings import JobSettings
from tests.darkroom.factories import make_job


def stored(client: redis.Redis, job: Job, *, region: str) -> Job:
    return JobStore(client, JobSettings(region=region)).submit(job).job


def test_a_job_carries_the_region_that_took_it(redis_client: redis.Redis) -> None:
    assert stored(redis_client, make_job(), region="eu-1").region == "eu-1"
    assert stored(redis_client, make_job(), region="").region == ""


def test_a_job_made_from_another_gets_the_region_of_its_own(redis_client: redis.Redis) -> None:
    assert stored(redis_client, make_job(region="us-2"), region="eu-1").region == "eu-1"


def test_metrics_name_the_region_where_it_has_a_name() -> None:
    metrics, nameless = Metrics(), Metrics()
    metrics.observe_region("eu-1")
    nameless.observe_region("")

    assert b'darkroom_region_info{region="eu-1"} 1.0' in generate_latest(metrics.registry)
    assert b"darkroom_region_info{" not in generate_latest(nameless.registry)
