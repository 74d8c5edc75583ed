"""A prompt, a key, a webhook's URL and secret, and a link are planted; none may be seen where it does not belong."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import redis

from darkroom.keys import KeyStore, Scope
from darkroom.object_store import LocalObjectStore
from tests.api.service import LINK_SECRET, Places, Worker, live_process
from tests.fixtures.processes import eventually

PROMPT, HOOK = "xylocopa", "melipona"  # words that nothing else here says


def test_what_is_planted_is_in_no_log_metric_message_or_error(places: Places, keys: KeyStore, tmp_path: Path) -> None:
    token = keys.create("acme", "canary", set(Scope)).token
    log = tmp_path / "api.log"
    errors: list[str] = []
    with live_process(places, log=log, DARKROOM_LOG_LEVEL="debug") as api, heard(places.redis_url) as commands:
        url = api.url
        with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
            made = http.post("/webhooks", json={"url": f"https://example.org/{HOOK}"})
            assert made.status_code == 201, made.text
            secret = re.search(r"whsec_[A-Za-z0-9+/=_-]{20,}", made.text)
            assert secret
            submitted = http.post("/generate", json={"prompt": f"a {PROMPT}", "negative_prompt": PROMPT})
            job_id = submitted.json()["id"]
            objects = LocalObjectStore(places.objects, public_url=url, secret=LINK_SECRET.encode())
            Worker(places, objects).succeed(job_id)
            link = http.get(f"/jobs/{job_id}").json()["images"][0]["url"]
            signature = link.rpartition("=")[2]
            assert http.get(link).status_code == 200
            errors += _provoke(http, job_id, link=link, token=token)
            metrics = httpx2.get(f"{url}/metrics", trust_env=False).text
    planted = {"prompt": PROMPT, "key": token[16:], "hook": HOOK, "secret": secret[0][6:], "signature": signature}
    text = log.read_text(encoding="utf-8")

    assert job_id in text
    assert any("EVALSHA" in command and job_id in command for command in commands)
    for name, canary in planted.items():
        assert canary not in text, f"{name} in the log"
        assert canary not in metrics, f"{name} in a metric"
        assert not [command[:60] for command in commands if canary in command], f"{name} in Redis"
        assert not [body for body in errors if canary in body], f"{name} in an error"


def _provoke(http: httpx2.Client, job_id: str, *, link: str, token: str) -> list[str]:
    """The bodies of many kinds of errors, each with canaries in what was sent; without the path that was asked for."""
    other = {"Authorization": f"Bearer {token}x"}
    answers = [
        http.post("/generate", json={"prompt": PROMPT, "width": PROMPT, "model": PROMPT}),
        http.post("/generate", content=f'{{"prompt": "{PROMPT}'.encode(), headers={"Content-Type": "application/json"}),
        http.post("/generate", content=PROMPT.encode(), headers={"Content-Type": f"text/{PROMPT}"}),
        http.post("/generate", json={"prompt": f"{PROMPT} {token}\0"}),
        http.post("/generate", json={"prompt": PROMPT}, headers={"Idempotency-Key": f"{PROMPT} {PROMPT}"}),
        http.post("/webhooks", json={"url": f"http://127.0.0.1/{HOOK}"}),
        http.get("/jobs", params={"cursor": PROMPT}),
        http.get("/jobs", params={"status": PROMPT}),
        http.get(f"/jobs/{PROMPT}"),
        http.get("/jobs", headers=other),
        http.get(f"{link}0"),
        http.put(f"/jobs/{job_id}"),
        http.post(f"/jobs/{job_id}/cancel"),
    ]
    assert all(400 <= answer.status_code < 500 for answer in answers), [answer.status_code for answer in answers]
    return [
        json.dumps({name: value for name, value in answer.json().items() if name != "instance"}) for answer in answers
    ]


@contextmanager
def heard(url: str) -> Iterator[list[str]]:
    """Every command that the server gets meanwhile."""
    commands: list[str] = []
    client = redis.Redis.from_url(url)

    def listen(monitor: Any) -> None:
        with suppress(redis.ConnectionError, ValueError, OSError):
            for command in monitor.listen():
                commands.append(str(command["command"]))
                if "the last word" in commands[-1]:
                    return

    with client.monitor() as monitor:
        thread = threading.Thread(target=listen, args=(monitor,), daemon=True)
        thread.start()
        yield commands
        with redis.Redis.from_url(url) as last:
            last.echo("the last word")
        thread.join(10)
    eventually(lambda: not thread.is_alive(), seconds=5)
    client.close()
