"""Speaks to a running service over HTTP and turns its problems into sentences. Knows no terminal."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

from darkroom.errors import DarkroomError

TIMEOUT_SECONDS = 30.0


class ServiceUnreachable(DarkroomError):
    """The service does not answer."""

    code = "service_unreachable"


class ServiceRefused(DarkroomError):
    """The service refused the request."""

    code = "service_refused"


class Client:
    """One service, one key."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}", "User-Agent": "darkroom-cli"}
        try:
            self._http = httpx2.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_SECONDS)
        except (httpx2.InvalidURL, ValueError, UnicodeError):
            raise ServiceUnreachable("That URL or API key can't be used: check --url and --api-key.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def submit(self, body: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
        """Hand in a request, with the files that it starts from."""
        headers = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
        if not files:
            return self._call("POST", "/generate", json=body, headers=headers)
        parts: dict[str, tuple[str | None, bytes, str]] = {
            name: (name, data, "application/octet-stream") for name, data in files.items()
        }
        parts["request"] = (None, json.dumps(body).encode(), "application/json")
        return self._call("POST", "/generate", files=parts, headers=headers)

    def job(self, job_id: str) -> dict[str, Any]:
        return self._call("GET", f"/jobs/{job_id}")

    def recipe(self, job_id: str) -> dict[str, Any]:
        return self._call("GET", f"/jobs/{job_id}/recipe")

    def verify(self, picture: bytes) -> dict[str, Any]:
        """Where a file comes from."""
        return self._call("POST", "/verify", files={"image": ("image", picture, "application/octet-stream")})

    def events(self, job_id: str) -> Iterator[str]:
        """The names of what happens to the job, as it happens, until it has ended.

        Raises:
            ServiceUnreachable: the stream can't be had, or broke off.
        """
        try:
            with self._http.stream("GET", f"/jobs/{job_id}/events") as answer:
                for line in answer.iter_lines() if answer.is_success else ():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        yield value
        except (httpx2.HTTPError, httpx2.StreamError):
            raise ServiceUnreachable("The job's events broke off.") from None

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._call("POST", f"/jobs/{job_id}/cancel")

    def models(self) -> dict[str, Any]:
        return self._call("GET", "/models")

    def adapters(self) -> dict[str, Any]:
        return self._call("GET", "/adapters")

    def webhooks(self, method: str, path: str = "", body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One call about webhook endpoints; an empty answer gives an empty one."""
        if method == "DELETE":
            self._send(method, f"/webhooks{path}")
            return {}
        return self._call(method, f"/webhooks{path}", **({} if body is None else {"json": body}))

    def image(self, image: Mapping[str, Any]) -> bytes:
        """The file behind a job's image, checked against its digest."""
        data = self._send("GET", str(image["url"])).content
        if hashlib.sha256(data).hexdigest() != image["sha256"]:
            raise ServiceRefused("An image arrived damaged: its SHA-256 is not the one that its job states.")
        return data

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._send(method, path, **options)
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise ServiceUnreachable(f"What answers at {self.url} is not Darkroom.")
        return body

    def _send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, **options)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ServiceUnreachable(
                f"The service at {self.url} does not answer ({type(error).__name__}). "
                "Is it running? `darkroom up` starts one."
            ) from None
        if answer.is_success:
            return answer
        raise _refusal(answer, self.url)


def _refusal(answer: httpx2.Response, url: str) -> DarkroomError:
    """A problem document in words: what is wrong, and what would be right."""
    try:
        problem = answer.json()
        detail, errors = str(problem["detail"]), problem.get("errors") or []
    except (ValueError, KeyError, TypeError):
        return ServiceUnreachable(f"What answers at {url} is not Darkroom (HTTP {answer.status_code}).")
    nearest = [str(item["nearest"]) for item in errors if item.get("nearest") is not None]
    hint = f"; the nearest valid value is {nearest[0]}" if len(nearest) == 1 and nearest[0] not in detail else ""
    sentence = f"{detail.rstrip('.')}{hint}."
    return ServiceUnreachable(sentence) if answer.status_code >= 500 else ServiceRefused(sentence)
