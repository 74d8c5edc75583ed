"""How often the API may be called, and who is counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from starlette.testclient import TestClient

from api.client_address import client_address
from darkroom.keys import KeyStore
from tests.api.service import Caller, Places, make_services, serving

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.fixture
def limited(places: Places) -> Iterator[TestClient]:
    with serving(
        make_services(places), requests_per_minute=3, refusals_per_minute=2, trusted_proxies="10.0.0.0/8"
    ) as client:
        yield client


def test_key_is_limited_by_itself_and_told_how_much_is_left(limited: TestClient, keys: KeyStore) -> None:
    caller, other = Caller(limited, keys), Caller(limited, keys)

    answers = [caller.get("/models") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"key";q=3;w=60'}
    left = [re.fullmatch(r'"key";r=(\d+);t=(\d+)', answer.headers["RateLimit"]) for answer in answers]
    assert [match[1] for match in left if match] == ["2", "1", "0", "0"]
    assert answers[3].json()["code"] == "rate_limited"
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 20
    assert other.get("/models").status_code == 200


def test_limited_request_stores_nothing(limited: TestClient, keys: KeyStore) -> None:
    caller = Caller(limited, keys)
    submitted = [caller.generate().status_code for _ in range(5)]

    assert submitted == [202, 202, 202, 429, 429]
    assert len(Caller(limited, keys, owner=caller.owner).get("/jobs").json()["jobs"]) == 3


def test_address_without_a_valid_key_is_limited_and_keys_from_there_are_not(places: Places, keys: KeyStore) -> None:
    with serving(make_services(places), refusals_per_minute=2, trusted_proxies="0.0.0.0/0") as client:
        client.app.state.limits.refusals._policy = "this test's"  # the test client's address is used by others too
        caller = Caller(client, keys)
        tokens = ["dk_x", f"{caller.token[:-2]}--", "", caller.token + "x"]
        refused = [client.get("/jobs", headers={"Authorization": f"Bearer {token}"}) for token in tokens]

        assert [answer.status_code for answer in refused] == [401, 401, 429, 429]
        assert int(refused[3].headers["Retry-After"]) >= 1
        assert caller.get("/jobs").status_code == 200


def test_wrong_secret_does_not_use_up_the_keys_allowance(limited: TestClient, keys: KeyStore) -> None:
    caller = Caller(limited, keys)
    for _ in range(10):
        limited.get("/jobs", headers={"Authorization": f"Bearer {caller.token[:-2]}--"})

    assert caller.get("/jobs").headers["RateLimit"].startswith('"key";r=2;')


def test_zero_sets_no_limit(places: Places, keys: KeyStore) -> None:
    with serving(make_services(places), requests_per_minute=0) as client:
        answer = Caller(client, keys).get("/models")

    assert answer.status_code == 200
    assert "RateLimit" not in answer.headers


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["192.0.2.9, 198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["192.0.2.9", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["10.7.7.7"], "10.7.7.7"),
        ("10.1.2.3", ["nonsense"], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.1, nonsense, 10.9.9.9"], "10.9.9.9"),
        ("10.1.2.3", [""], "10.1.2.3"),
        ("::ffff:10.1.2.3", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
        ("2001:db8:1:2:9:9:9:9", [], "2001:db8:1:2::"),
        (None, ["198.51.100.1"], "unknown"),
        ("testclient", ["198.51.100.1"], "unknown"),
    ],
)
def test_only_the_operators_proxies_are_believed(peer: str | None, forwarded: list[str], address: str) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    scope = {"type": "http", "client": (peer, 1) if peer else None, "headers": headers}

    assert client_address(scope, PROXIES) == address
