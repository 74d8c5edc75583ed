"""API, worker and delivery as real processes, and a collector: one trace leads from the request to the webhook."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from darkroom.tracing import ATTRIBUTES, Step
from tests.fixtures.collector import Collector, Seen, collecting
from tests.fixtures.processes import Process, eventually
from tests.integration.service import Caller, Service, serving
from tests.integration.test_canaries import _open_to, hooked

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PROMPT, HOOK = "xylocopa", "melipona"
REQUEST = "req-of-a-test"


def test_one_trace_leads_from_the_request_to_the_webhook(tmp_path: Path) -> None:
    with collecting() as collector, hooked() as receiver:
        settings = {"DARKROOM_OTEL_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with serving(tmp_path, **settings, **_open_to(receiver.port)) as service:
            delivery = Process("worker.delivery", environment=service.environment, log=tmp_path / "delivery.log")
            try:
                job, planted = _live(service, f"http://127.0.0.1:{receiver.port}/{HOOK}")
                eventually(lambda: _of_job(collector, job, Step.WEBHOOK, outcome="delivered"), seconds=60)
            finally:
                delivery.stop()
            logs = f"{service.logs()}\n{delivery.output}"
        spans = collector.spans

    (attempt,) = _of_job(collector, job, Step.ATTEMPT)
    trace = [span for span in spans if span.trace == attempt.trace]
    by_name = {span.name: span for span in trace}
    assert set(Step) | {"POST /generate"} <= by_name.keys()
    assert {span.service for span in trace} == {"darkroom-api", "darkroom-worker", "darkroom-delivery"}
    assert by_name[Step.SUBMIT].parent == by_name["POST /generate"].id
    assert {by_name[step].parent for step in (Step.ATTEMPT, Step.CLAIM, Step.WEBHOOK)} == {by_name[Step.SUBMIT].id}
    inner = (Step.WAIT, Step.GENERATE, Step.CHECK_IMAGES, Step.UPLOAD, Step.COMMIT)
    assert {by_name[step].parent for step in inner} == {attempt.id}
    assert by_name[Step.GENERATE].events == ("step",) * 4
    assert attempt.attributes["darkroom.outcome"] == "succeeded"

    assert {name for span in spans for name in span.attributes} <= ATTRIBUTES
    sent = b"".join(collector.bodies)
    assert [name for name, canary in planted.items() if canary.encode() in sent] == []
    _assert_lines_lead_back(logs, job, attempt.trace)


def _live(service: Service, hook: str) -> tuple[str, dict[str, str]]:
    """A job with a webhook, its image fetched by link, and requests that are wrong; what must not be seen of it all."""
    caller = Caller(service)
    with caller.http:
        body = {
            "prompt": f"a {PROMPT} circle",
            "negative_prompt": f"no {PROMPT}",
            "num_inference_steps": 4,
            "webhook": {"url": hook},
        }
        answer = caller.http.post("/generate", json=body, headers={"X-Request-ID": REQUEST})
        assert answer.status_code == 202, answer.text
        job: str = answer.json()["id"]
        link = caller.result(job)["images"][0]["url"]
        assert httpx2.get(link, timeout=30).status_code == 200
        assert caller.http.post("/generate", json={"prompt": PROMPT, "width": PROMPT}).status_code == 422
        assert caller.http.get("/jobs", params={"cursor": PROMPT}).status_code == 400
        assert caller.http.get(f"/{PROMPT}").status_code == 404
    planted = {"prompt": PROMPT, "hook": HOOK, "key": service.token[16:], "link": link.rpartition("=")[2]}
    return job, planted


def _of_job(collector: Collector, job: str, step: Step, **attributes: str) -> list[Seen]:
    wanted = {"darkroom.job": job} | {f"darkroom.{name}": value for name, value in attributes.items()}
    return [span for span in collector.spans if span.name == step and wanted.items() <= span.attributes.items()]


def _assert_lines_lead_back(logs: str, job: str, trace: str) -> None:
    """Every event of the job's way names the request, the job and the trace."""
    lines = [json.loads(line) for line in logs.splitlines() if line.startswith("{")]
    for event in ("job_submitted", "job_claimed", "attempt_ended", "webhook_attempted"):
        (first, *_) = [line for line in lines if line["event"] == event]
        assert {"request_id": REQUEST, "job_id": job, "trace_id": trace}.items() <= first.items(), event
