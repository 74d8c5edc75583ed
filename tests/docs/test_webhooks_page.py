"""The verifying example of docs/webhooks.md, held to what is really sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from darkroom.clock import unix_time
from darkroom.settings import DeliverySettings
from darkroom.webhook_signing import new_secret, replaced, signed_headers
from tests.docs.snippets import ROOT, find_snippets

PAGE = "docs/webhooks.md"
BODY = b'{"type":"job.succeeded"}'


@pytest.fixture(scope="module")
def verify() -> Callable[..., bool]:
    [code] = [snippet.code for snippet in find_snippets() if (snippet.page, snippet.language) == (PAGE, "python")]
    names: dict[str, Any] = {}
    exec(code, names)
    function: Callable[..., bool] = names["verify"]
    return function


def test_example_accepts_what_is_sent(verify: Callable[..., bool]) -> None:
    secret = new_secret()

    headers = signed_headers([secret], event_id="evt_1", body=BODY, now=unix_time())

    assert verify(secret.text, headers, BODY)


def test_example_accepts_either_secret_during_a_rotation(verify: Callable[..., bool]) -> None:
    old, now = new_secret(), unix_time()
    both = replaced([old], now=now, overlap_seconds=60)

    headers = signed_headers(both, event_id="evt_1", body=BODY, now=now)

    assert all(verify(secret.text, headers, BODY) for secret in (old, both[0]))


def test_example_refuses_what_was_changed_or_is_old(verify: Callable[..., bool]) -> None:
    secret, now = new_secret(), unix_time()
    headers = signed_headers([secret], event_id="evt_1", body=BODY, now=now)
    old = signed_headers([secret], event_id="evt_1", body=BODY, now=now - 301)

    assert not verify(secret.text, headers, BODY + b" ")
    assert not verify(secret.text, {**headers, "webhook-id": "evt_2"}, BODY)
    assert not verify(new_secret().text, headers, BODY)
    assert not verify(secret.text, old, BODY)


def test_page_tells_the_retry_table_as_it_is() -> None:
    text = " ".join((ROOT / PAGE).read_text(encoding="utf-8").split())

    assert DeliverySettings().pauses == (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    assert "5 seconds, 5 minutes, 30 minutes, 2, 5, 10, 14, 20 and 24 hours" in text
