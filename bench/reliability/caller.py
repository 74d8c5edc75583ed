"""An owner's program: submits, reads and cancels over HTTP, and writes every call into the ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx2

from bench.reliability.fleet import MODEL, Fleet
from bench.reliability.ledger import Call, Ledger, Seen

TIMEOUT_SECONDS = 10.0


class Caller:
    """One owner's program; several threads may share it."""

    def __init__(self, fleet: Fleet, ledger: Ledger, owner: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self.owner = owner
        self._ledger = ledger
        self._http = httpx2.Client(
            base_url=fleet.url,
            headers={"Authorization": f"Bearer {fleet.key(owner)}"},
            timeout=timeout,
            limits=httpx2.Limits(max_connections=256),
        )

    def submit(self, body: Mapping[str, Any], *, key: str | None = None) -> Call:
        headers = {"Idempotency-Key": key} if key else {}
        return self._call("submit", "POST", "/generate", json=dict(body), headers=headers)[0]

    def cancel(self, job: str) -> tuple[Call, Mapping[str, Any]]:
        return self._call("cancel", "POST", f"/jobs/{job}/cancel")

    def read(self, job: str) -> tuple[Call, Mapping[str, Any]]:
        return self._call("read", "GET", f"/jobs/{job}")

    def close(self) -> None:
        self._http.close()

    def _call(self, act: str, method: str, path: str, **options: Any) -> tuple[Call, Mapping[str, Any]]:
        at, began = time.time(), time.monotonic()
        try:
            answer = self._http.request(method, path, **options)
            body: Mapping[str, Any] = answer.json()
        except (httpx2.TransportError, ValueError):
            call = Call(act, self.owner, at, time.monotonic() - began, Seen.UNKNOWN)
            self._ledger.write(call)
            return call, {}
        fine = answer.status_code < 400
        call = Call(
            act,
            self.owner,
            at,
            time.monotonic() - began,
            Seen.OK if fine else Seen.REFUSED,
            status=answer.status_code,
            job=str(body.get("id", "")) if fine else "",
            code=str(body.get("code", "")),
            retry_after=answer.headers.get("Retry-After", ""),
            replayed=answer.headers.get("Idempotency-Replayed") == "true",
        )
        self._ledger.write(call)
        return call, body


def job_body(number: int, *, steps: int, prompt: str = "a red circle") -> dict[str, Any]:
    """A small request; the number makes its seed."""
    return {
        "model": MODEL,
        "prompt": prompt,
        "width": 64,
        "height": 64,
        "num_inference_steps": steps,
        "guidance_scale": 1.0,
        "seed": number,
    }
