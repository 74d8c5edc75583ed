"""`POST /generate` over real stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from darkroom.jobs import JobStatus, Tier
from darkroom.keys import KeyStore
from darkroom.settings import RedisSettings
from darkroom.tickets import TicketOffice, make_celery, queue_name
from safety.pipeline import SafetyPipeline
from safety.policy import load_policy
from safety.subjects import PromptSubject
from safety.verdict import Finding, Stage
from tests.api.service import Caller, Places, Worker, make_services, serving
from tests.fixtures.processes import eventually

PLAIN = {  # what a recipe without pictures, adapters and the like says of them
    "init_image": None,
    "mask_image": None,
    "strength": 1.0,
    "mask_blur": 0,
    "mask_padding": None,
    "adapters": [],
    "guidance_rescale": 0.0,
    "guidance_stop": 1.0,
    "refiner": None,
    "refiner_start": 1.0,
    "preview_every": 0,
}
TicketsOf = Callable[[Tier], int]
BLOCKED_PROMPT = "a zzblockedterm"  # the shipped lists have words for trying this


class CrashingCheck:
    """A check that can't give an answer."""

    name = "prompt_wordlist"
    stage = Stage.PROMPT

    def run(self, subject: PromptSubject) -> Sequence[Finding]:
        raise RuntimeError(f"can't read {subject.prompt}")


def test_job_is_accepted_with_its_place_and_its_links(caller: Caller) -> None:
    response = caller.generate()

    body = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == body["links"]["self"] == f"/jobs/{body['id']}"
    assert int(response.headers["retry-after"]) >= 1
    assert body["status"] == "queued"
    assert body["queue_position"] >= 1
    assert body["links"]["cancel"] == f"/jobs/{body['id']}/cancel"
    assert body["warnings"] == []


def test_defaults_come_from_the_model_and_are_stored(caller: Caller) -> None:
    job_id = caller.submit(prompt="a red circle")

    params = caller.get(f"/jobs/{job_id}").json()["params"]
    seed = params.pop("seed")
    assert params == {
        "prompt": "a red circle",
        "negative_prompt": "",
        "model": "tiny",
        "width": 128,
        "height": 128,
        "num_inference_steps": 25,
        "guidance_scale": 5.0,
        "scheduler": "dpmpp_2m",
        "num_images": 1,
        "output_format": "png",
        **PLAIN,
    }
    assert 0 <= seed < 2**32


def test_two_jobs_without_seed_get_different_ones(caller: Caller) -> None:
    seeds = {caller.generate().json()["params"]["seed"] for _ in range(4)}

    assert len(seeds) > 1


def test_every_field_reaches_the_record(caller: Caller) -> None:
    asked = {
        "prompt": "a boat",
        "negative_prompt": "text",
        "model": "other",
        "width": 256,
        "height": 512,
        "num_inference_steps": 6,
        "guidance_scale": 2,
        "scheduler": "euler_a",
        "seed": 7,
        "num_images": 3,
        "output_format": "webp",
    }

    job_id = caller.submit(**asked, tier="quality", deadline_seconds=60, metadata={"order": "1"})

    job = caller.get(f"/jobs/{job_id}").json()
    assert job["params"] == PLAIN | asked
    assert job["tier"] == "quality"
    assert job["metadata"] == {"order": "1"}
    assert job["deadline_at"] > job["created_at"]


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"guidance_scale": 20}, "guidance_scale above 15"),
        ({"num_inference_steps": 4}, "fewer than 8 steps"),
        ({"width": 192}, "192x128 is not a size"),
        ({"prompt": "a " * 700}, "prompt has 702 tokens; tiny reads the first 602 only"),
        ({"negative_prompt": "a " * 601}, "negative_prompt has 603 tokens"),
    ],
)
def test_unwise_values_are_accepted_with_a_warning(caller: Caller, fields: dict[str, object], hint: str) -> None:
    response = caller.generate({"prompt": "a red circle", **fields})

    warnings = response.json()["warnings"]
    assert response.status_code == 202
    assert len(warnings) == 1
    assert hint in warnings[0]
    assert caller.get(response.headers["location"]).json()["warnings"] == warnings


def test_a_few_step_model_may_take_few_steps(caller: Caller) -> None:
    assert caller.generate({"prompt": "a boat", "model": "other"}).json()["warnings"] == []


def test_refused_prompt_is_a_job_born_blocked_without_a_ticket(caller: Caller, tickets_of: TicketsOf) -> None:
    waiting = tickets_of(Tier.PREVIEW)

    response = caller.generate({"prompt": BLOCKED_PROMPT, "tier": "preview"})

    body = response.json()
    assert response.status_code == 202
    assert body["status"] == "blocked"
    assert body["error"]["code"] == "prompt_custom"
    assert body["queue_position"] is None
    assert body["links"]["cancel"] is None
    assert "retry-after" not in response.headers
    job = caller.get(body["links"]["self"]).json()
    assert (job["status"], job["images"], job["error"]) == ("blocked", [], body["error"])
    assert tickets_of(Tier.PREVIEW) == waiting


def test_accepted_job_has_a_ticket(caller: Caller, tickets_of: TicketsOf) -> None:
    waiting = tickets_of(Tier.QUALITY)

    caller.submit(tier="quality")

    assert tickets_of(Tier.QUALITY) == waiting + 1


def test_ambiguous_prompt_is_queued_with_its_images_held(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit(prompt="a zzreviewterm")

    job = worker.jobs.get(job_id, owner=caller.owner)

    assert job.status is JobStatus.QUEUED
    assert job.held == "prompt_custom"
    assert job.policy == "default@1"


def test_prompt_that_could_not_be_checked_is_stored_nowhere(places: Places, keys: KeyStore, worker: Worker) -> None:
    safety = SafetyPipeline(policy=load_policy("default"), prompt_checks=(CrashingCheck(),))

    with serving(replace(make_services(places), safety=safety)) as client:
        caller = Caller(client, keys)
        response = caller.generate({"prompt": "canary in a coal mine"})

    assert response.status_code == 503
    assert response.json()["code"] == "check_unavailable"
    assert response.headers["retry-after"] == "2"
    assert "canary" not in response.text
    assert worker.jobs.list_jobs(caller.owner).jobs == ()


def test_refused_broker_is_no_concern_of_the_caller(places: Places, keys: KeyStore, worker: Worker) -> None:
    services = make_services(places)
    nowhere = RedisSettings(redis_url="redis://127.0.0.1:1/0", redis_timeout_seconds=0.5)
    tickets = TicketOffice(make_celery(nowhere), services.threaded_redis)
    services.threaded_redis.delete(queue_name(Tier.STANDARD))  # where another test has left it full, none is asked for

    with serving(replace(services, tickets=tickets)) as client:
        caller = Caller(client, keys)
        response = caller.generate()
        eventually(lambda: 'darkroom_tickets_total{result="refused"} 1.0' in client.get("/metrics").text)

    assert response.status_code == 202
    assert worker.jobs.get(response.json()["id"], owner=caller.owner).status is JobStatus.QUEUED


def test_unreachable_job_store_is_a_503(places: Places) -> None:
    with serving(make_services(places, redis_url="redis://127.0.0.1:1/0")) as client:
        response = client.post("/generate", json={}, headers={"Authorization": "Bearer dk_0_0"})

    assert response.status_code == 503
    assert response.json()["code"] == "job_store_unavailable"
    assert response.headers["retry-after"] == "2"


def test_same_key_and_body_find_the_same_job(caller: Caller) -> None:
    first = caller.generate({"prompt": "a boat", "width": 128}, Idempotency_Key='"order-1"')
    second = caller.generate({"width": 128, "prompt": "a boat"}, Idempotency_Key="order-1")

    assert first.json() == second.json()
    assert first.headers["location"] == second.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert len(caller.get("/jobs").json()["jobs"]) == 1


def test_same_key_with_another_body_is_refused(caller: Caller) -> None:
    caller.generate({"prompt": "a boat"}, Idempotency_Key="order-2")

    response = caller.generate({"prompt": "a canary"}, Idempotency_Key="order-2")

    assert response.status_code == 422
    assert response.json()["code"] == "idempotency_key_reused"


def test_equal_calls_at_once_make_one_job(caller: Caller) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: caller.generate(Idempotency_Key="order-3"), range(24)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


def test_owners_do_not_share_idempotency_keys(make_caller: Callable[..., Caller]) -> None:
    first, second = make_caller(), make_caller()

    ids = {each.generate(Idempotency_Key="order-4").json()["id"] for each in (first, second)}

    assert len(ids) == 2


def test_replay_issues_no_second_ticket(caller: Caller, tickets_of: TicketsOf) -> None:
    caller.generate({"prompt": "a boat", "tier": "preview"}, Idempotency_Key="order-5")
    waiting = tickets_of(Tier.PREVIEW)

    caller.generate({"prompt": "a boat", "tier": "preview"}, Idempotency_Key="order-5")

    assert tickets_of(Tier.PREVIEW) == waiting


def test_jobs_are_counted_by_tier_and_model(caller: Caller) -> None:
    caller.submit(model="other", tier="preview")

    text = caller.client.get("/metrics").text

    assert 'darkroom_jobs_submitted_total{model="other",tier="preview"}' in text
    assert 'darkroom_http_requests_total{method="POST",route="/generate",status="202"}' in text
    assert 'darkroom_verdicts_total{decision="allow",stage="prompt"}' in text


def test_store_keeps_the_record_when_the_api_is_rebuilt(caller: Caller, places: Places) -> None:
    job_id = caller.submit()

    with serving(make_services(places)) as client:
        response = client.get(f"/jobs/{job_id}", headers=caller.headers())

    assert response.json()["id"] == job_id


def test_worker_reads_what_the_api_wrote(caller: Caller, worker: Worker) -> None:
    job_id = caller.submit(prompt="a boat", seed=5)

    claim = worker.claim(job_id)

    assert claim.job.params.prompt == "a boat"
    assert claim.job.params.seed == 5
