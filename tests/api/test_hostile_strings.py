"""Strings made to break things, everywhere that a caller may put one: never a 5xx, never an echo of a control."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from darkroom.keys import KeyStore
from tests.api.service import Caller, Places, make_services, serving

CORES = [
    "' OR 1=1 --", '"; DROP TABLE jobs; --', "${jndi:ldap://x/a}", "{{7*7}}", "{% raw %}", "%s%n%x", "$(id)", "`id`",
    "; cat /etc/passwd", "| nc x 1", "../../../../etc/passwd", "..\\..\\windows\\win.ini", "%2e%2e%2f", "%00", "\0",
    "file:///etc/passwd", "http://169.254.169.254/latest", "//evil.example/", "javascript:alert(1)",
    "<script>alert(1)</script>", "<!ENTITY x SYSTEM 'file:///etc/passwd'>", "]]>", "\r\nSet-Cookie: a=b", "\n\n",
    "\x1b[2J", "\x7f", "\x08\x08", "\ufeff", "\u202e", "\u200b\u200d", "\ufdfa" * 50, "Z\u0351\u036b\u0343" * 60,
    "\U000e0041", "\ufffe", "\ud800", "\udfff\ud800", "é" * 999, "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 40,
    "\uff11\uff12", "NaN", "Infinity", "-0", "1e999", "9" * 400, "0x7f.1", "true", "null", "undefined",
    "[object Object]",
    "__proto__", "constructor", "__class__", "{0.__class__.__mro__}", "(((((((((((word:1.5)))))))))))",
    "[" * 900,
    "(" * 1_900 + ")" * 90, "(a:1e99)", "(a:-9)", "<lora:x:1>", "BREAK AND BREAK", "\\" * 1_999, "a" * 2_001,
    "a" * 100_000, "*", "darkroom:job:*", "KEYS *", "job_" + "0" * 26, "job_*", "EVAL",
    "\r\n*1\r\n$8\r\nFLUSHALL\r\n", "con", "nul", ".", "..", "", " ", "\t", "😀", "ﷺ", "ß" * 300, "İ" * 300,
]  # fmt: skip
pytestmark = pytest.mark.slow
FIELDS = (
    "prompt", "negative_prompt", "model", "scheduler", "tier", "output_format", "metadata", "metadata name", "adapter",
    "unknown field", "init_image",
)  # fmt: skip
LONGEST_URL = 60_000  # what the client sends at most
PLACES = ("path", "job id", "object", "cursor", "status", "Idempotency-Key", "Prefer", "X-Request-ID", "Authorization",
          "Content-Type", "X-Forwarded-For", "Last-Event-ID")  # fmt: skip


@pytest.fixture(scope="module")
def hostile(places: Places, keys: KeyStore) -> Iterator[Caller]:
    with serving(make_services(places), trusted_proxies="0.0.0.0/0") as client:
        yield Caller(client, keys)


def _body(field: str, text: str) -> dict[str, object]:
    plain = {"prompt": "a red circle"}
    special = {
        "metadata": {"metadata": {"k": text}},
        "metadata name": {"metadata": {text: "v"}},
        "adapter": {"adapters": [{"name": text}]},
        "unknown field": {text: 1},
    }
    return plain | special.get(field, {field: text})


def test_there_are_enough_of_them() -> None:
    assert len(CORES) * (len(FIELDS) + len(PLACES)) > 1_500


@pytest.mark.parametrize("field", FIELDS)
def test_a_body_is_taken_or_refused_whatever_it_says(hostile: Caller, field: str) -> None:
    for text in CORES:
        body = json.dumps(_body(field, text)).encode()
        answer = hostile.client.post(
            "/generate", content=body, headers=hostile.headers(Content_Type="application/json")
        )
        assert answer.status_code in {202, 400, 413, 422}, (field, text[:40], answer.text)
        _assert_clean(answer.text)


def _assert_clean(text: str) -> None:
    assert not any(ord(sign) < 32 for sign in json.loads(text).get("detail") or "")


def _send(caller: Caller, place: str, text: str) -> int:
    client, raw = caller.client, text.encode("utf-8", "surrogatepass")
    quoted = quote(raw, safe="")[:LONGEST_URL]
    if place in {"path", "job id", "object"}:
        start = {"path": "/", "job id": "/jobs/", "object": "/objects/"}[place]
        return client.get(f"{start}{quoted}", headers=caller.headers()).status_code
    if place in {"cursor", "status"}:
        return client.get(f"/jobs?{place}={quoted}", headers=caller.headers()).status_code
    path = "/generate" if place in {"Idempotency-Key", "Content-Type"} else f"/jobs/job_{'0' * 26}"
    method = "POST" if path == "/generate" else "GET"
    headers = {name.encode(): value.encode() for name, value in caller.headers().items()} | {place.encode(): raw}
    return client.request(method, path, headers=list(headers.items()), content=b'{"prompt": "a"}').status_code


@pytest.mark.parametrize("place", PLACES)
def test_no_place_of_a_request_breaks_the_service(hostile: Caller, place: str) -> None:
    for text in CORES:
        status = _send(hostile, place, text)
        assert status < 500, (place, text[:40], status)


def test_the_service_still_works_after_all_that(hostile: Caller, client: TestClient) -> None:
    for field, place in product(FIELDS[:2], PLACES[:2]):
        assert hostile.generate(_body(field, "a star")).status_code == 202
        assert _send(hostile, place, "x") == 404
    assert client.get("/readyz").status_code == 200
