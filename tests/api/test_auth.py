"""Who may call what."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from darkroom.keys import KeyStore, Scope
from tests.api.service import Caller

MADE_UP = f"dk_{'0' * 12}_{'A' * 43}"
CANARY = "kanarienvogel"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {CANARY}",
        f"Bearer {MADE_UP}",
        f"Basic {CANARY}",
        MADE_UP,
        f"Bearer {MADE_UP} {CANARY}",
        f"Bearer dk_{'0' * 12}_{'A' * 9_000}",
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/generate"), ("GET", "/jobs"), ("GET", "/models")])
def test_without_a_valid_key_there_is_only_one_answer(
    client: TestClient, header: str | None, method: str, path: str
) -> None:
    headers = {} if header is None else {"Authorization": header}

    response = client.request(method, path, headers=headers, content=b"not even JSON")

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.json()["code"] == "not_authenticated"
    assert CANARY not in response.text


def test_wrong_secret_revoked_and_expired_keys_are_refused(client: TestClient, keys: KeyStore) -> None:
    good = keys.create("somebody", "good")
    revoked = keys.create("somebody", "revoked")
    keys.revoke(revoked.key.id)
    expired = keys.create("somebody", "expired", expires_at=time.time() - 1)
    tokens = [good.token[:-1] + ("A" if good.token[-1] != "A" else "B"), revoked.token, expired.token]

    answers = [client.get("/jobs", headers={"Authorization": f"Bearer {token}"}) for token in tokens]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert client.get("/jobs", headers={"Authorization": f"Bearer {good.token}"}).status_code == 200


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        (Scope.GENERATE, "POST", "/generate"),
        (Scope.READ, "GET", "/jobs"),
        (Scope.READ, "GET", "/jobs/job_0"),
        (Scope.CANCEL, "POST", "/jobs/job_0/cancel"),
    ],
)
def test_each_route_needs_its_own_scope(
    make_caller: Callable[..., Caller], scope: Scope, method: str, path: str
) -> None:
    lacking, having = make_caller(scopes=set(Scope) - {scope}), make_caller(scopes={scope})

    refused = lacking.client.request(method, path, headers=lacking.headers())
    allowed = having.client.request(method, path, headers=having.headers())

    assert (refused.status_code, refused.json()["code"]) == (403, "not_permitted")
    assert f"`{scope}`" in refused.json()["detail"]
    assert "insufficient_scope" in refused.headers["www-authenticate"]
    assert allowed.status_code not in {401, 403}


def test_any_key_may_read_the_catalogue(make_caller: Callable[..., Caller]) -> None:
    caller = make_caller(scopes={Scope.CANCEL})

    assert [caller.get(path).status_code for path in ("/models", "/schedulers")] == [200, 200]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs"])
def test_probes_and_documentation_need_no_key(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_another_owners_job_is_not_there(make_caller: Callable[..., Caller]) -> None:
    mine, theirs = make_caller(), make_caller()
    job_id = mine.submit(prompt=CANARY)

    read, cancelled, missing = (
        theirs.get(f"/jobs/{job_id}"),
        theirs.post(f"/jobs/{job_id}/cancel"),
        theirs.get(f"/jobs/job_{'0' * 26}"),
    )

    assert [answer.status_code for answer in (read, cancelled, missing)] == [404, 404, 404]
    assert _without_identity(read.json()) == _without_identity(missing.json())
    assert theirs.get("/jobs").json()["jobs"] == []
    assert CANARY not in read.text
    assert mine.get(f"/jobs/{job_id}").json()["status"] == "queued"


def test_even_an_operators_key_sees_only_its_owners_jobs(make_caller: Callable[..., Caller]) -> None:
    job_id = make_caller().submit()

    assert make_caller(scopes=set(Scope)).get(f"/jobs/{job_id}").status_code == 404


def _without_identity(problem: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in problem.items() if name not in {"instance", "request_id"}}
