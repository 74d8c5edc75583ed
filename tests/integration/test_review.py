"""People in the way of a job: real API, real worker, the shipped model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from darkroom.audit import AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.jobs import JobStatus
from darkroom.keys import KeyStore, Scope
from darkroom.object_store import LocalObjectStore
from tests.fixtures.processes import eventually
from tests.integration.service import GIVE_UP_SECONDS, Caller, Service, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

HELD = "a red circle, zzreviewterm"  # an invented word that the default policy holds for a person
REFUSED = "a red circle, zzblockedterm"  # and one that it refuses
STEPS = {"num_inference_steps": 4}


class Reviewer:
    """A person with a key of their own."""

    def __init__(self, service: Service, person: str, *scopes: Scope) -> None:
        token = KeyStore(service.redis).create("reviews", person, scopes or {Scope.REVIEW}, person=person).token
        self.http = httpx2.Client(base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def decide(self, job_id: str, decision: str) -> str:
        """Take the item, look at every image, and decide the same about each."""
        item = self.send("POST", f"/review/items/{job_id}/lease")
        for image in item["images"]:
            assert self.http.get(image["href"]).content.startswith(b"\x89PNG")
        rulings = [{"index": image["index"], "decision": decision} for image in item["images"]]
        body = {"fence": item["fence"], "images": rulings, "code": "custom", "note": "seen"}
        status: str = self.send("POST", f"/review/items/{job_id}/decide", body)["status"]
        return status


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("review"), DARKROOM_REVIEW_TTL_SECONDS="60") as running:
        yield running


@pytest.fixture(scope="module")
def caller(service: Service) -> Iterator[Caller]:
    caller = Caller(service)
    yield caller
    caller.http.close()


@pytest.fixture(scope="module")
def ann(service: Service) -> Iterator[Reviewer]:
    ann = Reviewer(service, "ann")
    yield ann
    ann.http.close()


@pytest.fixture(scope="module")
def ben(service: Service) -> Iterator[Reviewer]:
    ben = Reviewer(service, "ben")
    yield ben
    ben.http.close()


@pytest.fixture(scope="module")
def olga(service: Service) -> Iterator[Reviewer]:
    olga = Reviewer(service, "olga", Scope.ADMIN)
    yield olga
    olga.http.close()


def held(caller: Caller) -> str:
    """A job whose image waits for a person."""
    job_id = caller.submit(prompt=HELD, num_images=2, **STEPS)
    eventually(lambda: caller.read(job_id)["status"] == JobStatus.IN_REVIEW, seconds=GIVE_UP_SECONDS)
    return job_id


def test_a_held_job_is_approved_and_its_images_are_fetched(caller: Caller, ann: Reviewer) -> None:
    job_id = held(caller)
    assert caller.read(job_id)["images"] == []

    assert ann.decide(job_id, "approve") == "succeeded"

    job = caller.result(job_id)
    assert [image["index"] for image in job["images"]] == [0, 1]
    for image in job["images"]:
        assert caller.download(image).content.startswith(b"\x89PNG")


def test_a_held_job_is_denied_and_nothing_leaves(caller: Caller, ann: Reviewer) -> None:
    job_id = held(caller)

    assert ann.decide(job_id, "block") == "blocked"

    job = caller.result(job_id)
    assert (job["images"], job["error"]["code"], job["reasons"]["automated"]) == ([], "image_custom", False)


def test_a_refused_prompt_is_appealed_granted_by_two_and_made(caller: Caller, ann: Reviewer, ben: Reviewer) -> None:
    job_id = caller.submit(prompt=REFUSED, **STEPS)
    assert caller.read(job_id)["reasons"]["automated"] is True
    caller.http.post(f"/jobs/{job_id}/appeal", json={"text": "a circle"}).raise_for_status()

    grant = {"decision": "granted", "answer": "You are right."}
    first = ann.send("POST", f"/review/appeals/{job_id}/decide", grant)
    assert first["appeal"]["new_job"] is None
    second = ben.send("POST", f"/review/appeals/{job_id}/decide", grant)

    job = caller.result(second["appeal"]["new_job"])
    assert (job["status"], job["appeal_of"], len(job["images"])) == ("succeeded", job_id, 1)
    assert caller.read(job_id)["status"] == "blocked"


def test_a_denied_job_is_appealed_and_decided_by_somebody_else(caller: Caller, ann: Reviewer, ben: Reviewer) -> None:
    job_id = held(caller)
    ann.decide(job_id, "block")
    caller.http.post(f"/jobs/{job_id}/appeal", json={"text": "a circle"}).raise_for_status()
    path, grant = f"/review/appeals/{job_id}/decide", {"decision": "granted", "answer": "You are right."}

    assert ann.http.post(path, json=grant).json()["code"] == "second_person_needed"
    granted = ben.send("POST", path, grant)

    job = caller.result(granted["appeal"]["new_job"])
    assert (job["status"], len(job["images"])) == ("succeeded", 2)


def test_an_image_that_was_taken_down_is_not_made_again(caller: Caller, olga: Reviewer) -> None:
    recipe = {"prompt": "a yellow star on a blue background", "seed": 11, "num_inference_steps": 8}
    job_id = caller.submit(**recipe)
    (image,) = caller.result(job_id)["images"]

    olga.send("POST", "/admin/takedown", {"job_id": job_id, "reason": "a complaint"})

    assert httpx2.get(image["url"], timeout=30).status_code == 404
    assert caller.read(job_id)["images"] == []
    again = caller.result(caller.submit(**recipe))
    assert (again["status"], again["images"]) == ("blocked", [])


def test_silence_denies(caller: Caller) -> None:
    job_id = held(caller)

    job = caller.result(job_id)

    assert (job["status"], job["error"]["code"], job["images"]) == ("expired", "expired_unreviewed", [])


def test_the_log_of_all_that_verifies(service: Service) -> None:
    folder = Path(service.environment["DARKROOM_OBJECT_STORE_FOLDER"])
    objects = LocalObjectStore(folder, public_url=service.url, secret=b"a secret of tests")
    segments = AuditSegments(AuditLog(service.redis), objects)

    assert segments.verify().entries > 10
    done = {entry.action for entry in segments.entries()}
    assert {"review.read", "review.image", "review.decided", "review.expired", "appeal.granted", "takedown"} <= done
