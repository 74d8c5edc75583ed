"""Owners over their caps, and a service that is full: told so, with nothing stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis
from starlette.testclient import TestClient

from darkroom.keys import KeyStore
from darkroom.owners import Owners, OwnerSettings
from darkroom.queue_control import QueueControl
from darkroom.redis_client import make_redis
from darkroom.settings import RedisSettings
from tests.api.service import Caller, Places, make_png, make_services, serving


@pytest.fixture
def capped(places: Places) -> Iterator[TestClient]:
    owners = Owners(default=OwnerSettings(max_queued=1))
    with serving(replace(make_services(places), owners=owners)) as client:
        yield client


@pytest.fixture
def connection(places: Places) -> Iterator[redis.Redis]:
    with make_redis(RedisSettings(redis_url=places.redis_url)) as client:
        yield client


def test_a_job_over_the_cap_is_refused_and_not_stored(capped: TestClient, keys: KeyStore) -> None:
    caller = Caller(capped, keys)
    assert caller.generate().status_code == 202

    refused = caller.generate()

    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.headers["RateLimit-Policy"] == '"queued";q=1'
    assert refused.headers["RateLimit"].startswith('"queued";r=0;t=')
    assert len(caller.get("/jobs").json()["jobs"]) == 1
    assert Caller(capped, keys).generate().status_code == 202


def test_a_suspended_owner_is_told_so(capped: TestClient, keys: KeyStore, connection: redis.Redis) -> None:
    caller = Caller(capped, keys)
    QueueControl(connection).suspend(caller.owner)

    refused = caller.generate()

    assert (refused.status_code, refused.json()["code"]) == (403, "owner_suspended")
    QueueControl(connection).resume(caller.owner)
    assert caller.generate().status_code == 202


def test_over_the_cap_no_input_image_is_stored(capped: TestClient, keys: KeyStore, places: Places) -> None:
    caller = Caller(capped, keys)
    assert caller.generate().status_code == 202
    stored = sorted(places.objects.rglob("*"))

    refused = caller.generate_form({"prompt": "a red circle"}, {"init_image": make_png(128, 128)})

    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert sorted(places.objects.rglob("*")) == stored


def test_repeated_call_with_an_image_finds_its_job_although_the_cap_is_reached(
    capped: TestClient, keys: KeyStore
) -> None:
    caller, files = Caller(capped, keys), {"init_image": make_png(128, 128)}
    key = {"Idempotency_Key": f'"{caller.owner}"'}
    first = caller.generate_form({"prompt": "a red circle"}, files, **key)

    again = caller.generate_form({"prompt": "a red circle"}, files, **key)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]


def test_a_budget_is_for_a_day(places: Places, keys: KeyStore) -> None:
    cost = 25 * 128 * 128 / 1e6  # megapixels times steps
    owners = Owners(default=OwnerSettings(budget_per_day=2.5 * cost))
    with serving(replace(make_services(places), owners=owners)) as client:
        caller = Caller(client, keys)
        answers = [caller.generate({"prompt": "a red circle", "num_inference_steps": 25}) for _ in range(3)]
        smaller = caller.generate({"prompt": "a red circle", "num_inference_steps": 10})

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json()["code"] == "budget_exhausted"
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 86_400
    assert answers[2].headers["RateLimit-Policy"] == '"budget";q=1;w=86400'
    assert smaller.status_code == 202


def test_a_full_service_says_when_to_come_back(places: Places, keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_MAX_QUEUED", "1")
    with serving(make_services(places)) as client:
        Caller(client, keys).generate()

        refused = Caller(client, keys).generate()

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.headers["RateLimit"].startswith('"overloaded";r=0;')


def test_a_priority_is_taken_within_its_bounds(capped: TestClient, keys: KeyStore) -> None:
    caller = Caller(capped, keys)

    assert caller.generate({"prompt": "a red circle", "priority": 10}).status_code == 202
    assert caller.generate({"prompt": "a red circle", "priority": 11}).status_code == 422
