"""API, worker and delivery as real processes: what is planted is in no log, metric, message, error or value at rest."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.fixtures.ports import free_port
from tests.fixtures.processes import Process, eventually
from tests.fixtures.receiver import OK, Received, Receiver, receiving, status
from tests.integration.service import Caller, Service, serving
from tests.integration.test_faults_and_secrets import Listening, _keys_that_hold

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PROMPT, HOOK, OWN_HOOK = "xylocopa", "melipona", "osmia"  # words that nothing else here says


def test_what_is_planted_stays_where_it_belongs(tmp_path: Path) -> None:
    ports = {"DARKROOM_METRICS_PORT": str(free_port()), "DARKROOM_DELIVERY_METRICS_PORT": str(free_port())}
    with hooked() as receiver, serving(tmp_path, **ports, **_open_to(receiver.port)) as service:
        delivery = Process("worker.delivery", environment=service.environment, log=tmp_path / "delivery.log")
        try:
            caller = Caller(service)
            with caller.http, Listening(service) as heard:
                planted, errors, job_ids = _live(service, caller, receiver)
                metrics = _metrics(service, *ports.values())
        finally:
            delivery.stop()
        logs = f"{service.logs()}\n{delivery.output}"
        at_rest = {name: _keys_that_hold(service.redis, canary) for name, canary in planted.items()}

    assert all(job_id in logs for job_id in job_ids)
    assert "webhook_attempted" in logs
    assert [name for name, canary in planted.items() if canary in logs] == []
    assert [name for name, canary in planted.items() if canary in metrics] == []
    assert [name for name, canary in planted.items() if any(canary in body for body in errors)] == []
    assert any("darkroom:tickets:" in command for command in heard.commands), "no ticket was seen"
    assert [name for name, canary in planted.items() if any(canary in one for one in heard.commands)] == []
    assert {name: keys for name, keys in at_rest.items() if keys} == {}


def _live(service: Service, caller: Caller, receiver: Receiver) -> tuple[dict[str, str], list[str], list[str]]:
    """An owner's day: endpoints, a job that succeeds, one that is refused, calls that are wrong."""
    hook = f"http://127.0.0.1:{receiver.port}"
    made = caller.http.post("/webhooks", json={"url": f"{hook}/{HOOK}?token={HOOK}"}).json()
    own_secret = caller.http.post("/webhooks/secret", json={}).json()["secret"]
    body = {"prompt": f"a {PROMPT} circle", "negative_prompt": f"no {PROMPT}", "num_inference_steps": 4}
    done = caller.submit(**body, webhook={"url": f"{hook}/{OWN_HOOK}"})
    refused = caller.submit(prompt=f"{PROMPT} zzblockedterm")
    link = caller.result(done)["images"][0]["url"]
    assert httpx2.get(link, timeout=30).status_code == 200
    eventually(lambda: _arrived(receiver, done, hooks=2) and _arrived(receiver, refused, hooks=1), seconds=60)
    planted = {
        "prompt": PROMPT,
        "key": service.token[16:],
        "hook": HOOK,
        "own hook": OWN_HOOK,
        "secret": made["secret"].removeprefix("whsec_"),
        "own secret": own_secret.removeprefix("whsec_"),
        "link": link.rpartition("=")[2],
    }
    return planted, _provoke(service, caller, link), [done, refused]


def _provoke(service: Service, caller: Caller, link: str) -> list[str]:
    """The bodies of errors, each with canaries in what was sent; without the path that was asked for."""
    other = {"Authorization": f"Bearer {service.token}x"}
    answers = [
        caller.http.post("/generate", json={"prompt": PROMPT, "width": PROMPT}),
        caller.http.post("/generate", json={"prompt": PROMPT, "webhook": {"url": f"http://10.0.0.1/{HOOK}"}}),
        caller.http.post("/webhooks", json={"url": f"ftp://127.0.0.1/{HOOK}"}),
        caller.http.get("/jobs", params={"cursor": PROMPT}),
        caller.http.get("/jobs", headers=other),
        httpx2.get(f"{link}0", timeout=30),
    ]
    assert all(400 <= answer.status_code < 500 for answer in answers), [answer.status_code for answer in answers]
    return [
        json.dumps({name: value for name, value in answer.json().items() if name != "instance"}) for answer in answers
    ]


def _arrived(receiver: Receiver, job_id: str, *, hooks: int) -> bool:
    """Whether the job's end has been taken at so many places."""
    taken = {
        one.line
        for one in receiver.requests
        if job_id in one.body.decode() and json.loads(one.body)["type"] in {"job.succeeded", "job.blocked"}
    }
    return len(taken) >= hooks


def _metrics(service: Service, *ports: str) -> str:
    urls = [service.url, *(f"http://127.0.0.1:{port}" for port in ports)]
    texts = [httpx2.get(f"{url}/metrics", timeout=10).text for url in urls]
    assert all("darkroom_" in text for text in texts)
    return "\n".join(texts)


def _open_to(port: int) -> dict[str, str]:
    return {
        "DARKROOM_WEBHOOK_HTTP": "true",
        "DARKROOM_WEBHOOK_PORTS": str(port),
        "DARKROOM_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "DARKROOM_DELIVERY_RETRY_SECONDS": "0.2,0.2,0.2,0.2",
    }


@contextmanager
def hooked() -> Iterator[Receiver]:
    """A receiver on a loop of its own, which refuses the first request and takes the others."""
    loop, seen = asyncio.new_event_loop(), [0]

    def answer(_: Received) -> bytes:
        seen[0] += 1
        return status(500) if seen[0] == 1 else OK

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    place = receiving(answer)
    try:
        yield asyncio.run_coroutine_threadsafe(place.__aenter__(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(place.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
