"""The webhook that a request names for its job: what is let in, and where it waits to be sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from darkroom.redis_client import make_redis
from darkroom.settings import RedisSettings
from tests.api.service import Caller, Places, Worker
from tests.fixtures.secret_file import SEALER

URL = "https://hooks.example.com/darkroom?token=kanarienvogel"


@pytest.fixture
def held(places: Places) -> Iterator[redis.Redis]:
    """What the service's Redis holds."""
    with make_redis(RedisSettings(redis_url=places.redis_url)) as client:
        yield client


def deliveries(client: redis.Redis, job_id: str) -> list[dict[str, str]]:
    keys = sorted(client.scan_iter(f"darkroom:delivery:evt_{job_id[4:]}_*"))
    return [client.hgetall(key) for key in keys]


def test_events_of_the_job_wait_for_its_webhook(caller: Caller, worker: Worker, held: redis.Redis) -> None:
    job_id = caller.submit(webhook={"url": URL})
    worker.succeed(job_id)

    waiting = deliveries(held, job_id)

    assert sorted(one["type"] for one in waiting) == ["job.started", "job.succeeded"]
    assert {SEALER.open(one["url"]) for one in waiting} == {URL}


def test_only_the_events_that_were_named_are_sent(caller: Caller, worker: Worker, held: redis.Redis) -> None:
    job_id = caller.submit(webhook={"url": URL, "events": ["job.failed", "job.succeeded"]})
    worker.succeed(job_id)

    assert [one["type"] for one in deliveries(held, job_id)] == ["job.succeeded"]


def test_refused_job_tells_its_webhook(caller: Caller, held: redis.Redis) -> None:
    job_id = caller.submit(prompt="forbidden-test-token", webhook={"url": URL})

    assert [one["type"] for one in deliveries(held, job_id)] == ["job.blocked"]


def test_url_is_sealed_wherever_it_lies(caller: Caller, held: redis.Redis) -> None:
    job_id = caller.submit(webhook={"url": URL})
    caller.post(f"/jobs/{job_id}/cancel")

    texts = str(held.hgetall(f"darkroom:job:{job_id}")) + str(deliveries(held, job_id))

    assert "job.cancelled" in texts
    assert "kanarienvogel" not in texts
    assert "kanarienvogel" not in caller.get(f"/jobs/{job_id}").text


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        ({"url": "http://hooks.example.com/"}, "webhook.url"),
        ({"url": "https://user:kanarienvogel@hooks.example.com/"}, "webhook.url"),
        ({"url": "https://127.0.0.1/"}, "webhook.url"),
        ({"url": "https://hooks.example.com/" + "a" * 2_048}, "webhook.url"),
        ({"url": ""}, "webhook.url"),
        ({}, "webhook.url"),
        ({"url": URL, "secret": "kanarienvogel"}, "webhook.secret"),
        ({"url": URL, "events": ["job.exploded"]}, "webhook.events"),
        ("https://hooks.example.com/", "webhook"),
    ],
)
def test_webhook_that_may_not_be_used_is_refused(caller: Caller, webhook: Any, field: str) -> None:
    response = caller.generate({"prompt": "a red circle", "webhook": webhook})

    assert response.status_code == 422
    assert [problem["field"] for problem in response.json()["errors"]] == [field]
    assert "kanarienvogel" not in response.text
