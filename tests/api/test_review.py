"""Review, appeals, take-down and holds over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.services import Services
from darkroom.audit import AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.keys import KeyStore, Scope
from tests.api.service import Caller, Worker


class Reviewer(Caller):
    """A person with a key of their own."""

    def __init__(self, client: TestClient, keys: KeyStore, person: str, *scopes: Scope) -> None:
        super().__init__(client, keys)
        self.person = person
        self.token = keys.create("reviews", person, scopes or {Scope.REVIEW}, person=person).token

    def send(self, method: str, path: str, body: Any = None) -> Any:
        return self.client.request(method, path, headers=self.headers(), json=body)

    def take(self, job_id: str) -> Any:
        answer = self.send("POST", f"/review/items/{job_id}/lease")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def decide(self, job_id: str, fence: int, **decisions: str) -> Any:
        images = [{"index": int(index[1:]), "decision": decision} for index, decision in decisions.items()]
        body = {"fence": fence, "images": images, "code": "violence", "note": "a note"}
        return self.send("POST", f"/review/items/{job_id}/decide", body)


@pytest.fixture
def ann(client: TestClient, keys: KeyStore) -> Reviewer:
    return Reviewer(client, keys, "ann")


@pytest.fixture
def ben(client: TestClient, keys: KeyStore) -> Reviewer:
    return Reviewer(client, keys, "ben")


@pytest.fixture
def held(caller: Caller, worker: Worker) -> str:
    job_id = caller.submit(num_images=2)
    worker.hold(job_id, decisions=("review", "allow"))
    return job_id


def audited(services: Services, job_id: str) -> list[tuple[str, str]]:
    segments = AuditSegments(AuditLog(services.threaded_redis), services.objects)
    segments.verify()
    return [(entry.actor, entry.action) for entry in segments.entries() if entry.subject == job_id]


def test_an_approved_image_gets_a_link_and_a_blocked_one_does_not(
    caller: Caller, worker: Worker, ann: Reviewer, services: Services
) -> None:
    job_id = caller.submit(num_images=2)
    worker.hold(job_id, decisions=("review", "review"))
    item = ann.take(job_id)

    decided = ann.decide(job_id, item["fence"], i0="approve", i1="block")

    assert decided.json() == {"id": job_id, "status": "succeeded"}
    job = caller.get(f"/jobs/{job_id}").json()
    assert [image["index"] for image in job["images"]] == [0]
    assert caller.client.get(job["images"][0]["url"]).content == b"a picture"
    assert [action for _, action in audited(services, job_id)] == ["review.leased", "review.read", "review.decided"]


def test_an_item_shows_what_a_decision_needs_and_says_who_has_it(held: str, ann: Reviewer, ben: Reviewer) -> None:
    item = ann.take(held)

    assert item["summary"]["by"] == "ann"
    assert item["params"]["prompt"] == "a red circle"
    assert [image["index"] for image in item["images"]] == [0]
    assert item["policy"]["label"].startswith("default@")
    listed = next(entry for entry in ben.get("/review/items?limit=200").json()["items"] if entry["id"] == held)
    assert (listed["by"], listed["images"]) == ("ann", 1)
    assert ben.send("POST", f"/review/items/{held}/lease").json()["code"] == "review_taken"
    assert ben.decide(held, item["fence"], i0="approve").json()["code"] == "review_lease_lost"


def test_a_held_image_is_shown_to_reviewers_alone(held: str, caller: Caller, ann: Reviewer) -> None:
    item = ann.take(held)
    href = item["images"][0]["href"]

    shown = ann.get(href)

    assert shown.content == b"a picture"
    assert shown.headers["cache-control"] == "no-store"
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert "sandbox" in shown.headers["content-security-policy"]
    assert caller.get(href).status_code == 403
    assert ann.get(href.replace("/images/0", "/images/1")).status_code == 404


def test_a_denied_job_says_why_and_how_to_appeal(caller: Caller, worker: Worker, ann: Reviewer) -> None:
    job_id = caller.submit()
    worker.hold(job_id, decisions=("review",))
    ann.decide(job_id, ann.take(job_id)["fence"], i0="block")

    job = caller.get(f"/jobs/{job_id}").json()

    assert (job["status"], job["images"]) == ("blocked", [])
    assert job["reasons"] == {
        "category": "violence",
        "stage": "image",
        "automated": False,
        "appeal": f"/jobs/{job_id}/appeal",
    }
    assert "a note" not in str(job)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"fence": 1, "images": []},
        {"fence": 1, "images": [{"index": 0, "decision": "maybe"}]},
        {"fence": 1, "images": [{"index": 0, "decision": "block"}], "code": "nonsense"},
        {"fence": 1, "images": [{"index": 5, "decision": "approve"}]},
        {"fence": 1, "images": [{"index": 0, "decision": "block"}]},
    ],
)
def test_half_a_decision_is_refused(held: str, ann: Reviewer, body: dict[str, Any]) -> None:
    ann.take(held)

    answer = ann.send("POST", f"/review/items/{held}/decide", body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_params")


def test_escalation_leaves_the_item_to_somebody_else(held: str, ann: Reviewer, ben: Reviewer) -> None:
    fence = ann.take(held)["fence"]
    assert ann.send("POST", f"/review/items/{held}/escalate", {"fence": fence, "note": "hm"}).status_code == 204

    assert ann.send("POST", f"/review/items/{held}/lease").json()["code"] == "second_person_needed"
    item = ben.take(held)
    assert [(step["by"], step["action"], step["note"]) for step in item["history"]] == [("ann", "escalated", "hm")]


def test_two_keys_of_one_person_are_one_person(
    client: TestClient, keys: KeyStore, caller: Caller, worker: Worker, ann: Reviewer
) -> None:
    job_id = caller.submit()
    worker.hold(job_id, decisions=("review",))
    ann.decide(job_id, ann.take(job_id)["fence"], i0="block")
    caller.client.post(f"/jobs/{job_id}/appeal", json={"text": "why"}, headers=caller.headers())

    second_key = Reviewer(client, keys, "Ann")
    answer = second_key.send("POST", f"/review/appeals/{job_id}/decide", {"decision": "granted", "answer": "yes"})

    assert answer.json()["code"] == "second_person_needed"


def refuse(caller: Caller) -> str:
    job_id = caller.submit(prompt="zzblockedterm on a hill")
    assert caller.get(f"/jobs/{job_id}").json()["status"] == "blocked"
    return job_id


def test_a_granted_appeal_makes_a_new_job_and_leaves_the_old_one(
    caller: Caller, worker: Worker, ann: Reviewer, ben: Reviewer, services: Services
) -> None:
    job_id = refuse(caller)
    job = caller.get(f"/jobs/{job_id}").json()
    assert (job["reasons"]["automated"], job["reasons"]["stage"]) == (True, "prompt")
    assert "zzblockedterm" not in str(job["reasons"])
    filed = caller.client.post(f"/jobs/{job_id}/appeal", json={"text": "a hill"}, headers=caller.headers())
    assert (filed.status_code, filed.json()["state"]) == (202, "open")

    path, grant = f"/review/appeals/{job_id}", {"decision": "granted", "answer": "You are right."}
    assert ann.get(path).json()["text"] == "a hill"
    assert ann.send("POST", f"{path}/decide", grant).json()["appeal"]["state"] == "open"
    granted = ben.send("POST", f"{path}/decide", grant).json()["appeal"]

    new = caller.get(f"/jobs/{granted['new_job']}").json()
    old = caller.get(f"/jobs/{job_id}").json()
    assert (new["status"], new["appeal_of"], new["params"]) == ("queued", job_id, old["params"])
    assert (old["status"], old["error"]) == ("blocked", job["error"])
    read = caller.get(f"/jobs/{job_id}/appeal").json()
    assert (read["state"], read["answer"], read["new_job"]) == ("granted", "You are right.", new["id"])
    claim = worker.claim(new["id"])
    assert claim.job.waived
    assert {waived.category for waived in claim.job.waived} == {claim.job.waived[0].category}
    assert ("ben", "appeal.granted") in audited(services, job_id)
    assert services.oversight.appeals.unmade() == []


def test_a_job_that_a_grant_promised_is_made_by_the_next_look(
    caller: Caller, worker: Worker, ann: Reviewer, services: Services
) -> None:
    job_id = refuse(caller)
    caller.client.post(f"/jobs/{job_id}/appeal", json={"text": "a hill"}, headers=caller.headers())
    found = worker.jobs.get(job_id, owner=caller.owner)
    for person in ("ann", "ben"):  # the decision is stored, then the process dies
        appeal = services.oversight.appeals.decide(found, "granted", person=person, answer="yes")
    assert caller.get(f"/jobs/{appeal.new_job}").status_code == 404

    ann.get("/review/appeals")

    assert caller.get(f"/jobs/{appeal.new_job}").json()["status"] == "queued"


def test_a_denied_appeal_is_answered(caller: Caller, ann: Reviewer) -> None:
    job_id = refuse(caller)
    caller.client.post(f"/jobs/{job_id}/appeal", json={"text": "a hill"}, headers=caller.headers())

    ann.send("POST", f"/review/appeals/{job_id}/decide", {"decision": "denied", "answer": "It stands."})

    read = caller.get(f"/jobs/{job_id}/appeal").json()
    assert (read["state"], read["answer"], read["new_job"]) == ("denied", "It stands.", None)


def test_nothing_to_appeal_against(caller: Caller) -> None:
    job_id = caller.submit()

    answer = caller.client.post(f"/jobs/{job_id}/appeal", json={"text": "why"}, headers=caller.headers())

    assert (answer.status_code, answer.json()["code"]) == (409, "appeal_not_possible")


def test_an_image_that_is_taken_down_has_no_link_and_its_old_link_leads_nowhere(
    caller: Caller, worker: Worker, client: TestClient, keys: KeyStore
) -> None:
    operator = Reviewer(client, keys, "olga", Scope.ADMIN)
    job_id = caller.submit(num_images=2)
    worker.succeed(job_id, decisions=("allow", "allow"))
    links = [image["url"] for image in caller.get(f"/jobs/{job_id}").json()["images"]]

    body = {"job_id": job_id, "images": [1], "reason": "a complaint"}
    assert operator.send("POST", "/admin/takedown", body).json() == {"job_id": job_id, "withheld": [1]}

    job = caller.get(f"/jobs/{job_id}").json()
    assert ([image["index"] for image in job["images"]], job["withheld"]) == ([0], [1])
    assert [client.get(link).status_code for link in links] == [200, 404]


def test_a_hold_keeps_a_job_from_its_own_owner(
    caller: Caller, worker: Worker, client: TestClient, keys: KeyStore
) -> None:
    operator = Reviewer(client, keys, "olga", Scope.ADMIN)
    job_id = caller.submit()
    worker.succeed(job_id)
    path = f"/admin/jobs/{job_id}/hold"

    assert operator.send("PUT", path, {"reason": "a case"}).status_code == 204

    deleted = client.delete(f"/jobs/{job_id}", headers=caller.headers())
    assert (deleted.status_code, deleted.json()["code"]) == (409, "legal_hold")
    assert [hold["job_id"] for hold in operator.get("/admin/holds").json()["holds"]] == [job_id]
    assert operator.send("DELETE", path).status_code == 204
    assert operator.send("DELETE", path).status_code == 404
    assert client.delete(f"/jobs/{job_id}", headers=caller.headers()).status_code == 204


def test_webhooks_hear_of_a_decision(caller: Caller, worker: Worker, ann: Reviewer, services: Services) -> None:
    job_id = caller.submit(webhook={"url": "https://hooks.example.com/x", "events": ["job.review_decided"]})
    worker.hold(job_id, decisions=("review",))
    ann.decide(job_id, ann.take(job_id)["fence"], i0="block")

    waiting: Any = services.threaded_redis.zrange("darkroom:outbox", 0, -1)
    sent = [services.threaded_redis.hget(f"darkroom:delivery:{name}", "type") for name in waiting if job_id[4:] in name]
    assert sent == ["job.review_decided"]
