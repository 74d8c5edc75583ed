"""Reading, waiting for, listing and cancelling jobs."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from tests.api.service import Caller, Worker


def test_queued_job_shows_its_place(caller: Caller) -> None:
    job_id = caller.submit()

    response = caller.get(f"/jobs/{job_id}")

    job = response.json()
    assert (response.status_code, job["status"], job["attempt"]) == (200, "queued", 0)
    assert job["queue_position"] >= 1
    assert job["started_at"] is None
    assert abs((datetime.now(UTC) - datetime.fromisoformat(job["created_at"])).total_seconds()) < 30
    assert 1 <= int(response.headers["retry-after"]) <= 30
    assert "preference-applied" not in response.headers


def test_running_job_shows_its_steps(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit()
    claim = worker.claim(job_id)
    worker.jobs.progress(claim, step=10, steps=25)

    job = caller.get(f"/jobs/{job_id}").json()

    assert (job["status"], job["attempt"], job["progress"]) == ("running", 1, {"step": 10, "steps": 25})
    assert job["queue_position"] is None
    assert job["images"] == []


def test_finished_job_has_links_that_work_without_a_key(caller: Caller, worker: Worker, client: TestClient) -> None:
    job_id = caller.submit(seed=40, num_images=2)
    worker.succeed(job_id, data=b"two pictures", decisions=("allow", "allow"))

    response = caller.get(f"/jobs/{job_id}")

    job = response.json()
    assert job["status"] == "succeeded"
    assert "retry-after" not in response.headers
    assert [image["seed"] for image in job["images"]] == [40, 41]
    assert job["links"] == {"self": f"/jobs/{job_id}", "cancel": None}
    image = job["images"][1]
    expires = datetime.fromisoformat(image["expires_at"])
    assert 0 < (expires - datetime.now(UTC)).total_seconds() <= 900
    assert (image["bytes"], image["content_type"], len(image["sha256"])) == (12, "image/png", 64)
    assert client.get(image["url"]).content == b"two pictures"


def test_image_that_was_not_let_go_has_no_link(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit(num_images=3)
    worker.succeed(job_id, decisions=("allow", "block", "review"))

    assert [image["index"] for image in caller.get(f"/jobs/{job_id}").json()["images"]] == [0]


def test_job_in_review_shows_none_of_its_images(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit(num_images=2)
    worker.hold(job_id, decisions=("allow", "review"))

    response = caller.get(f"/jobs/{job_id}")

    assert (response.json()["status"], response.json()["images"]) == ("in_review", [])
    assert response.json()["links"]["cancel"] == f"/jobs/{job_id}/cancel"
    assert "retry-after" in response.headers


def test_failed_job_says_why(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit()
    worker.fail(job_id, code="out_of_memory")

    job = caller.get(f"/jobs/{job_id}").json()

    assert (job["status"], job["error"]) == ("failed", {"code": "out_of_memory", "message": "It failed."})


@pytest.mark.parametrize("job_id", ["job_0", "job_" + "0" * 26, "job_" + "U" * 26, "x", "%00", "..%2f..%2fetc", "ä"])
def test_what_is_no_job_is_not_found(caller: Caller, job_id: str) -> None:
    response = caller.get(f"/jobs/{job_id}")

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_wait_ends_when_the_job_does(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit()
    threading.Timer(0.4, worker.succeed, [job_id]).start()

    started = time.monotonic()
    response = caller.get(f"/jobs/{job_id}", Prefer="wait=30")

    assert response.json()["status"] == "succeeded"
    assert response.headers["preference-applied"] == "wait=30"
    assert 0.3 < time.monotonic() - started < 15


def test_wait_ends_when_the_time_is_up(caller: Caller) -> None:
    job_id = caller.submit()

    started = time.monotonic()
    response = caller.get(f"/jobs/{job_id}", Prefer="respond-async, wait=1")

    assert (response.status_code, response.json()["status"]) == (200, "queued")
    assert response.headers["preference-applied"] == "wait=1"
    assert "retry-after" in response.headers
    assert time.monotonic() - started >= 1


def test_ended_job_answers_a_wait_at_once_and_caps_it(caller: Caller) -> None:
    job_id = caller.submit()
    caller.post(f"/jobs/{job_id}/cancel")

    started = time.monotonic()
    response = caller.get(f"/jobs/{job_id}", Prefer="wait=99999")

    assert response.headers["preference-applied"] == "wait=60"
    assert time.monotonic() - started < 5


def test_many_may_wait_at_once(caller: Caller) -> None:
    job_id = caller.submit()

    started = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: caller.get(f"/jobs/{job_id}", Prefer="wait=1"), range(20)))

    assert {answer.status_code for answer in answers} == {200}
    assert time.monotonic() - started < 15  # one after another would take 20 s


def test_waiting_job_is_cancelled_at_once(caller: Caller) -> None:
    job_id = caller.submit()

    response = caller.post(f"/jobs/{job_id}/cancel")

    job = response.json()
    assert (response.status_code, job["status"]) == (200, "cancelled")
    assert job["finished_at"] is not None
    assert caller.get(f"/jobs/{job_id}").json()["status"] == "cancelled"


def test_running_job_is_asked_to_stop(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit()
    worker.claim(job_id)

    job = caller.post(f"/jobs/{job_id}/cancel").json()

    assert (job["status"], job["cancel_requested"]) == ("running", True)


def test_cancelling_twice_is_the_same_as_once(caller: Caller) -> None:
    job_id = caller.submit()

    answers = [caller.post(f"/jobs/{job_id}/cancel") for _ in range(2)]

    assert answers[0].json() == answers[1].json()


def test_ended_job_can_not_be_cancelled(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit()
    worker.succeed(job_id)

    response = caller.post(f"/jobs/{job_id}/cancel")

    assert (response.status_code, response.json()["code"]) == (409, "job_not_cancellable")


def test_pages_hold_every_job_once_newest_first(caller: Caller) -> None:
    ids = [caller.submit() for _ in range(7)]

    seen, cursor = [], ""
    for _ in range(9):
        page = caller.get(f"/jobs?limit=3{cursor}").json()
        seen += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert seen == ids[::-1]


def test_list_filters_by_status(caller: Caller) -> None:
    kept, cancelled = caller.submit(), caller.submit()
    caller.post(f"/jobs/{cancelled}/cancel")

    assert [job["id"] for job in caller.get("/jobs?status=queued").json()["jobs"]] == [kept]
    assert [job["id"] for job in caller.get("/jobs?status=cancelled").json()["jobs"]] == [cancelled]


def test_listed_job_is_the_same_as_the_job_itself(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit()
    worker.fail(job_id, code="generation_failed")

    assert caller.get("/jobs").json()["jobs"] == [caller.get(f"/jobs/{job_id}").json()]


@pytest.mark.parametrize(
    ("query", "status", "field", "nearest"),
    [
        ("limit=0", 422, "limit", 1),
        ("limit=101", 422, "limit", 100),
        ("limit=ten", 422, "limit", None),
        ("limit=5.5", 422, "limit", None),
        ("limit=", 422, "limit", None),
        (f"limit={'9' * 5000}", 422, "limit", None),
        ("status=done", 422, "status", "succeeded"),
        ("status=", 422, "status", None),
        ("cursor=" + "1" * 65, 422, "cursor", 64),
        ("cursor=kanarienvogel", 400, None, None),
        ("cursor=-1", 400, None, None),
        ("cursor=%00", 400, None, None),
    ],
)
def test_bad_query_names_the_parameter(
    caller: Caller, query: str, status: int, field: str | None, nearest: object
) -> None:
    response = caller.get(f"/jobs?{query}")

    problem = response.json()
    assert response.status_code == status
    assert [error["field"] for error in problem["errors"]] == ([field] if field else [])
    assert "kanarienvogel" not in response.text
    if field:
        assert problem["errors"][0]["message"] != "is not valid"
    if nearest is not None and field != "status":
        assert problem["errors"][0]["nearest"] == nearest
