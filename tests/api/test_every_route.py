"""Every route that the application has, with every scope: a route that is added must say here what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from starlette.testclient import TestClient

from darkroom.keys import KeyStore, Scope
from tests.api.service import Caller

ANY_KEY, NO_KEY = "any key", "no key"
G, R, C = Scope.GENERATE, Scope.READ, Scope.CANCEL
REVIEW, SEALED, ADMIN = Scope.REVIEW, Scope.SEALED, Scope.ADMIN
NEEDED: dict[tuple[str, str], Scope | str] = {
    ("POST", "/generate"): G,
    ("GET", "/jobs"): R,
    ("GET", "/jobs/{job_id}"): R,
    ("GET", "/jobs/{job_id}/events"): R,
    ("POST", "/jobs/{job_id}/cancel"): C,
    ("DELETE", "/jobs/{job_id}"): C,
    ("POST", "/jobs/{job_id}/rating"): R,
    ("GET", "/jobs/{job_id}/recipe"): R,
    ("POST", "/verify"): R,
    ("POST", "/jobs/{job_id}/appeal"): R,
    ("GET", "/jobs/{job_id}/appeal"): R,
    ("GET", "/review/items"): REVIEW,
    ("POST", "/review/next"): REVIEW,
    ("GET", "/review/items/{job_id}"): REVIEW,
    ("POST", "/review/items/{job_id}/lease"): REVIEW,
    ("GET", "/review/items/{job_id}/images/{index}"): REVIEW,
    ("POST", "/review/items/{job_id}/decide"): REVIEW,
    ("POST", "/review/items/{job_id}/escalate"): REVIEW,
    ("GET", "/review/appeals"): REVIEW,
    ("GET", "/review/appeals/{job_id}"): REVIEW,
    ("POST", "/review/appeals/{job_id}/decide"): REVIEW,
    ("GET", "/review/sealed"): SEALED,
    ("GET", "/review/sealed/{job_id}"): SEALED,
    ("DELETE", "/review/sealed/{job_id}"): SEALED,
    ("GET", "/review"): NO_KEY,  # the page has a session of its own
    ("POST", "/review/login"): NO_KEY,
    ("POST", "/review/logout"): NO_KEY,
    ("POST", "/review/page/next"): NO_KEY,
    ("GET", "/review/page/items/{job_id}"): NO_KEY,
    ("POST", "/review/page/items/{job_id}/lease"): NO_KEY,
    ("GET", "/review/page/items/{job_id}/images/{index}"): NO_KEY,
    ("POST", "/review/page/items/{job_id}/decide"): NO_KEY,
    ("GET", "/review/page/appeals/{job_id}"): NO_KEY,
    ("POST", "/review/page/appeals/{job_id}/decide"): NO_KEY,
    ("GET", "/review/page/style.css"): NO_KEY,
    ("POST", "/admin/takedown"): ADMIN,
    ("GET", "/admin/holds"): ADMIN,
    ("PUT", "/admin/jobs/{job_id}/hold"): ADMIN,
    ("DELETE", "/admin/jobs/{job_id}/hold"): ADMIN,
    ("POST", "/webhooks"): G,
    ("GET", "/webhooks"): R,
    ("POST", "/webhooks/secret"): G,
    ("GET", "/webhooks/undelivered"): R,
    ("POST", "/webhooks/undelivered/replay"): G,
    ("GET", "/webhooks/{endpoint_id}"): R,
    ("PATCH", "/webhooks/{endpoint_id}"): G,
    ("DELETE", "/webhooks/{endpoint_id}"): G,
    ("POST", "/webhooks/{endpoint_id}/rotate"): G,
    ("POST", "/webhooks/{endpoint_id}/test"): G,
    ("POST", "/webhooks/{endpoint_id}/replay"): G,
    ("GET", "/webhooks/{endpoint_id}/attempts"): R,
    ("GET", "/usage"): R,
    ("GET", "/models"): ANY_KEY,
    ("GET", "/schedulers"): ANY_KEY,
    ("GET", "/adapters"): ANY_KEY,
    ("GET", "/objects/{key:path}"): NO_KEY,  # its link is the right to fetch
    ("GET", "/livez"): NO_KEY,
    ("GET", "/readyz"): NO_KEY,
    ("GET", "/metrics"): NO_KEY,
    ("GET", "/docs"): NO_KEY,
    ("GET", "/openapi.json"): NO_KEY,
}
GUARDED = sorted(route for route, scope in NEEDED.items() if scope is not NO_KEY)


def _routes(routes: list[Any]) -> Iterator[Any]:
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None and not hasattr(route, "methods"):
            yield from _routes(inner.routes)
        elif getattr(route, "methods", None):
            yield route


def _calls(dependant: Dependant) -> Iterator[Any]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


def test_every_route_says_what_it_needs(client: TestClient) -> None:
    app = client.app
    assert isinstance(app, FastAPI)

    had = {(method, route.path) for route in _routes(list(app.routes)) for method in route.methods - {"HEAD"}}
    assert had == set(NEEDED)


def test_no_request_waits_for_a_thread_to_get_what_it_depends_on(client: TestClient) -> None:
    app = client.app
    assert isinstance(app, FastAPI)

    dependants = [route.dependant for route in _routes(list(app.routes)) if hasattr(route, "dependant")]
    calls = {call for dependant in dependants for call in _calls(dependant)}
    plain = [call for call in calls if not (iscoroutinefunction(call) or iscoroutinefunction(type(call).__call__))]

    assert len(calls) > 10
    assert plain == []


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("scope", Scope)
def test_a_key_of_one_scope_does_what_that_scope_allows(
    make_caller: Callable[..., Caller], method: str, path: str, scope: Scope
) -> None:
    caller = make_caller(scopes={scope})

    answer = caller.client.request(method, _filled(path), headers=caller.headers())

    allowed = NEEDED[method, path] in {scope, ANY_KEY}
    assert (answer.status_code == 403) is not allowed
    assert answer.status_code not in {401, 500}
    if not allowed:
        assert answer.json()["code"] == "not_permitted"


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_no_guarded_route_answers_without_a_key(client: TestClient, keys: KeyStore, method: str, path: str) -> None:
    revoked = keys.create("ada", "test", set(Scope))
    keys.revoke(revoked.key.id)

    for headers in ({}, {"Authorization": f"Bearer {revoked.token}"}):
        answer = client.request(method, _filled(path), headers=headers, content=b"{}")
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_no_scope_reads_another_owners_job(make_caller: Callable[..., Caller]) -> None:
    job_id = make_caller().submit()
    strangers = [make_caller(scopes=set(Scope)) for _ in range(2)]

    for method, path in GUARDED:
        for stranger in strangers if path.startswith("/jobs/{job_id}") else ():
            said = {"/jobs/{job_id}/appeal": {"text": "why"}, "/jobs/{job_id}/rating": {"rating": 5}}.get(path)
            body = {"json": said} if said and method == "POST" else {}
            answer = stranger.client.request(method, path.format(job_id=job_id), headers=stranger.headers(), **body)
            assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found"), path


def _filled(path: str) -> str:
    return (
        path.replace("{job_id}", f"job_{'0' * 26}").replace("{endpoint_id}", f"ep_{'0' * 24}").replace("{index}", "0")
    )
