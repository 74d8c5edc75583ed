"""Headers, in and out."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from api.headers import idempotency_key, preferred_wait
from darkroom.errors import InvalidParams
from tests.api.service import LiveApi, Places, make_services, serving

ORIGIN = "https://app.example"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("respond-async", None),
        ("wait=5", 5),
        ("wait=0", 0),
        ('wait="7"', 7),
        ("respond-async, WAIT = 10; x=1", 10),
        ("wait=61", 60),
        ("wait=999999", 60),
        ("wait=-1", None),
        ("wait=soon", None),
        ("await=5", None),
    ],
)
def test_preferred_wait(value: str | None, seconds: int | None) -> None:
    assert preferred_wait(value, longest=60) == seconds


@pytest.mark.parametrize(
    ("value", "key"), [(None, None), ("a-1", "a-1"), ('"a-1"', "a-1"), (" a-1 ", "a-1"), ("x" * 255, "x" * 255)]
)
def test_idempotency_key_bare_or_quoted(value: str | None, key: str | None) -> None:
    assert idempotency_key(value) == key


@pytest.mark.parametrize("value", ["", '""', "a b", "x" * 256, "ä", "a\tb", '"a b"'])
def test_other_idempotency_keys_are_refused(value: str) -> None:
    with pytest.raises(InvalidParams, match="Idempotency-Key: must have 1 to 255"):
        idempotency_key(value)


def test_request_id_of_the_caller_comes_back(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-ID": "trace.1-a_B"}).headers["x-request-id"] == "trace.1-a_B"


@pytest.mark.parametrize("offered", ["", "two words", "<script>", "x" * 65, 'a"b', "a,b"])
def test_other_request_ids_are_replaced(client: TestClient, offered: str) -> None:
    given = client.get("/livez", headers={"X-Request-ID": offered}).headers["x-request-id"]

    assert given.startswith("req_")


def test_each_request_has_an_id_of_its_own(client: TestClient) -> None:
    assert len({client.get("/livez").headers["x-request-id"] for _ in range(5)}) == 5


@pytest.mark.parametrize("path", ["/livez", "/models", "/nothing", "/docs", "/docs/assets/swagger-ui.css"])
def test_every_answer_guards_the_browser(client: TestClient, path: str) -> None:
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "cache-control" in headers
    assert "server" not in headers


def test_browsers_of_other_origins_get_no_permission(client: TestClient) -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}

    answers = [client.get("/livez", headers={"Origin": ORIGIN}), client.options("/generate", headers=preflight)]

    assert answers[1].status_code == 405
    assert not any(name.startswith("access-control") for answer in answers for name in answer.headers)


def test_origins_may_be_permitted_by_name(places: Places) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}

    with serving(make_services(places), cors_origins=f"{ORIGIN}, https://b.example") as client:
        allowed = client.options("/generate", headers={"Origin": ORIGIN, **preflight})
        refused = client.options("/generate", headers={"Origin": "https://evil.example", **preflight})

    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in allowed.headers
    assert "access-control-allow-origin" not in refused.headers


def test_head_without_end_is_cut_off(live_api: LiveApi) -> None:
    place = urlsplit(live_api.url)
    piece, most = b"x" * 65_536, 64
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\nX-Long: ")
        sent = 0
        try:
            while sent < most:
                connection.sendall(piece)
                sent += 1
        except OSError:  # it has hung up
            pass
        else:
            assert connection.recv(64).startswith(b"HTTP/1.1 400")

    assert sent < most
