"""Probes and metrics."""

from __future__ import annotations

from dataclasses import replace

from starlette.testclient import TestClient

from api.readiness import Readiness
from darkroom.object_store import S3ObjectStore
from darkroom.settings import ObjectStoreSettings
from tests.api.service import Caller, Places, make_services, serving

NOWHERE = "redis://127.0.0.1:1/0"


def test_process_is_alive_whatever_it_depends_on(places: Places) -> None:
    with serving(make_services(places, redis_url=NOWHERE)) as client:
        assert client.get("/livez").json() == {"status": "alive"}


def test_ready_when_all_parts_answer(client: TestClient) -> None:
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json() == {"status": "ready", "parts": {"job_store": "ok", "object_store": "ok"}}


def test_not_ready_without_redis(places: Places) -> None:
    with serving(make_services(places, redis_url=NOWHERE)) as client:
        response = client.get("/readyz")

    problem = response.json()
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "not_ready"
    assert [error["field"] for error in problem["errors"]] == ["job_store"]
    assert int(response.headers["retry-after"]) >= 1


def test_not_ready_without_the_object_store(places: Places) -> None:
    services = make_services(places)
    objects = S3ObjectStore(
        ObjectStoreSettings(s3_endpoint_url="http://127.0.0.1:1", s3_access_key_id="x", s3_secret_access_key="y")
    )

    with serving(replace(services, objects=objects, readiness=Readiness(services.jobs, objects))) as client:
        response = client.get("/readyz")

    assert response.status_code == 503
    assert "object_store" in response.json()["detail"]
    assert "127.0.0.1" not in response.text


def test_answer_is_kept_for_a_moment(places: Places) -> None:
    services = make_services(places)
    with serving(services) as client:
        before = client.get("/readyz")
        places.objects.rename(places.objects.with_name("away"))
        places.objects.write_text("no folder", encoding="utf-8")
        try:
            after = client.get("/readyz")
        finally:
            places.objects.unlink()
            places.objects.with_name("away").rename(places.objects)

    assert (before.status_code, after.status_code) == (200, 200)


def test_metrics_show_requests_and_leave_the_queues_to_the_elected_process(caller: Caller) -> None:
    caller.submit(tier="preview")

    text = caller.client.get("/metrics").text

    assert "darkroom_queue_depth_jobs" not in text
    assert 'darkroom_http_request_seconds_bucket{le="0.005",method="POST",route="/generate"}' in text


def test_a_wait_that_was_asked_for_says_nothing_of_the_time_to_answer(caller: Caller) -> None:
    job_id = caller.submit()
    before = _reads(caller)

    caller.get(f"/jobs/{job_id}", Prefer="wait=1")
    waited = _reads(caller)
    caller.get(f"/jobs/{job_id}")

    assert waited == (before[0] + 1, before[1])
    assert _reads(caller) == (before[0] + 2, before[1] + 1)


def _reads(caller: Caller) -> tuple[float, ...]:
    """How many reads of jobs were counted so far, and how many of them timed."""
    text = caller.client.get("/metrics").text
    labels = 'method="GET",route="/jobs/{job_id}"'
    counted, timed = "darkroom_http_requests_total{" + labels, "darkroom_http_request_seconds_count{" + labels
    lines = [line.rsplit(" ", 1) for line in text.splitlines()]
    return tuple(sum(float(value) for name, value in lines if name.startswith(which)) for which in (counted, timed))


def test_metrics_hold_no_ids(caller: Caller) -> None:
    job_id = caller.submit(prompt="kanarienvogel")
    caller.get(f"/jobs/{job_id}")
    caller.get("/kanarienvogel")

    text = caller.client.get("/metrics").text

    assert 'route="/jobs/{job_id}"' in text
    assert 'route="unmatched"' in text
    assert not any(secret in text for secret in (job_id, caller.owner, caller.token, "kanarienvogel"))


def test_metrics_are_there_without_redis(places: Places) -> None:
    with serving(make_services(places, redis_url=NOWHERE)) as client:
        response = client.get("/metrics")

    assert response.status_code == 200
    assert "darkroom_http_requests" in response.text


def test_metrics_and_documentation_can_be_turned_off(places: Places) -> None:
    with serving(make_services(places), metrics=False, docs=False) as client:
        answers = [
            client.get(path).status_code for path in ("/metrics", "/docs", "/openapi.json", "/docs/assets/docs.js")
        ]

    assert answers == [404, 404, 404, 404]
