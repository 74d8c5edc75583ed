"""Errors that come from outside the routes have the same shape as those from inside."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.problems import Problem
from api.services import Services
from darkroom.errors import ClaimLost
from darkroom.settings import ApiSettings
from tests.api.service import Caller, Places, make_services, serving

CANARY = "kanarienvogel"


@pytest.fixture(scope="module")
def crashing(places: Places) -> Iterator[TestClient]:
    """The service with routes that fail in ways it does not expect."""
    app = create_app(settings=ApiSettings(), services=make_services(places))

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError(CANARY)

    @app.get("/crash/{thing}")
    async def crash_on(thing: str) -> None:
        raise KeyError(thing)

    @app.get("/inner")
    async def inner() -> None:
        raise ClaimLost(CANARY)

    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("path", ["/crash", f"/crash/{CANARY}", "/inner"])
def test_unexpected_errors_tell_nothing(crashing: TestClient, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        response = crashing.get(path, headers={"X-Request-ID": "support-1"})

    problem = _problem(response, 500, "internal_error")
    assert problem["request_id"] == "support-1"
    assert CANARY not in problem["detail"]
    assert response.headers["x-content-type-options"] == "nosniff"


def test_crash_is_logged_by_place_and_without_its_text(
    crashing: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    crashing.get("/crash")

    written = "".join(capsys.readouterr())
    assert "request_crashed" in written
    assert "test_problems.py" in written
    assert CANARY not in written


@pytest.mark.parametrize("path", ["/", "/nothing", "/jobs/", "/generate/", "/docs/assets/nothing.js", "/docs/assets/"])
def test_unknown_paths_are_problems(caller: Caller, path: str) -> None:
    _problem(caller.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/generate", "POST"),
        ("DELETE", "/jobs", "GET"),
        ("PUT", "/jobs/job_0", "GET"),
        ("GET", "/jobs/job_0/cancel", "POST"),
        ("TRACE", "/livez", "GET"),
        ("POST", "/docs/assets/docs.js", None),
    ],
)
def test_other_methods_are_problems_that_name_the_right_one(
    caller: Caller, method: str, path: str, allowed: str | None
) -> None:
    response = caller.client.request(method, path, headers=caller.headers())

    _problem(response, 405, "method_not_allowed")
    assert allowed is None or response.headers["allow"] == allowed


def test_path_is_not_repeated_when_it_is_no_path_of_ours(caller: Caller) -> None:
    response = caller.get("/a prompt that somebody put here?token=1")

    assert _problem(response, 404, "not_found")["instance"] == "/"


def test_too_large_body_is_refused_before_the_key_is_looked_at(client: TestClient) -> None:
    response = client.post("/generate", content=b" " * 30_000_000, headers={"Content-Type": "application/json"})

    problem = _problem(response, 413, "body_too_large")
    assert "29360128 bytes" in problem["detail"]


def test_body_that_does_not_tell_its_size_is_counted(caller: Caller) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(60):
            yield b" " * 500_000

    headers = caller.headers() | {"Content-Type": "application/json"}
    response = caller.client.post("/generate", content=chunks(), headers=headers)

    assert "content-length" not in response.request.headers
    _problem(response, 413, "body_too_large")


def test_body_of_just_the_limit_is_read(services: Services, places: Places, caller: Caller) -> None:
    body = b'{"prompt": "a boat"}'

    with serving(make_services(places), max_body_bytes=1_024) as client:
        headers = caller.headers() | {"Content-Type": "application/json"}
        fits = client.post("/generate", content=body.ljust(1_024), headers=headers)
        over = client.post("/generate", content=body.ljust(1_025), headers=headers)

    assert (fits.status_code, over.status_code) == (202, 413)


def _problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = Problem.model_validate(response.json()).model_dump()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem
