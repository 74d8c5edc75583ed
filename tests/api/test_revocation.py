"""A revoked key is dead within seconds, also for requests that were under way."""

from __future__ import annotations

import threading
import time

import httpx2
import pytest

from darkroom.keys import KeyStore, Scope
from tests.api.service import LiveApi

LONGEST_SECONDS = 5.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stream", "wait"])
def test_revoked_key_ends_what_it_had_begun(live_api: LiveApi, keys: KeyStore, kind: str) -> None:
    new = keys.create("acme", "test", set(Scope))
    headers = {"Authorization": f"Bearer {new.token}"}
    with httpx2.Client(base_url=live_api.url, headers=headers, trust_env=False, timeout=30) as http:
        job_id = http.post("/generate", json={"prompt": "a red circle"}).json()["id"]
        revoked_at: list[float] = []

        def revoke() -> None:
            keys.revoke(new.key.id)
            revoked_at.append(time.monotonic())

        timer = threading.Timer(1.0, revoke)
        timer.start()
        if kind == "stream":
            with pytest.raises(httpx2.RemoteProtocolError), http.stream("GET", f"/jobs/{job_id}/events") as answer:
                answer.read()
            assert time.monotonic() - revoked_at[0] < LONGEST_SECONDS
        else:
            answer = http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=3"})
            assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
        timer.join()
        assert http.get("/jobs").status_code == 401
