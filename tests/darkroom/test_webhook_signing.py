"""Signatures, held to the reference library of Standard Webhooks."""

from __future__ import annotations

import datetime as dt

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from darkroom.clock import unix_time
from darkroom.webhook_signing import SigningSecret, new_secret, replaced, signed_headers

BODY = b'{"type":"job.succeeded","timestamp":"2026-11-21T12:00:00Z","data":{"status":"succeeded"}}'


def test_reference_library_accepts_a_signature() -> None:
    secret = new_secret()

    headers = signed_headers([secret], event_id="evt_1", body=BODY, now=unix_time())

    assert Webhook(secret.text).verify(BODY, headers)["type"] == "job.succeeded"


def test_signature_is_the_reference_librarys_own() -> None:
    secret, now = SigningSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), 1_614_265_330.5

    headers = signed_headers([secret], event_id="msg_p5jXN8AQM9LWM0D4loKWxJek", body=b'{"test": 2432232314}', now=now)

    moment = dt.datetime.fromtimestamp(int(now), dt.UTC)
    theirs = Webhook(secret.text).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", moment, '{"test": 2432232314}')
    assert headers["webhook-signature"] == theirs
    assert headers["webhook-timestamp"] == "1614265330"


@pytest.mark.parametrize("change", ["body", "id", "time", "secret"])
def test_anything_changed_is_noticed(change: str) -> None:
    secret, body = new_secret(), BODY
    headers = signed_headers([secret], event_id="evt_1", body=BODY, now=unix_time())
    if change == "body":
        body += b" "
    elif change == "id":
        headers["webhook-id"] = "evt_2"
    elif change == "time":
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
    else:
        secret = new_secret()

    with pytest.raises(WebhookVerificationError):
        Webhook(secret.text).verify(body, headers)


def test_both_secrets_sign_while_one_replaces_the_other() -> None:
    old, now = new_secret(), unix_time()
    signing = replaced([old], now=now, overlap_seconds=3600)

    headers = signed_headers(signing, event_id="evt_1", body=BODY, now=now)
    later = signed_headers(signing, event_id="evt_1", body=BODY, now=now + 3601)

    assert all(Webhook(one.text).verify(BODY, headers) for one in (old, signing[0]))
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert len(later["webhook-signature"].split(" ")) == 1


def test_replacing_without_overlap_ends_the_old_secret_at_once() -> None:
    signing = replaced([new_secret()], now=1_000.0, overlap_seconds=0)

    assert len(signing) == 1


def test_second_replacement_does_not_prolong_the_first() -> None:
    first = replaced([new_secret()], now=1_000.0, overlap_seconds=100)

    second = replaced(first, now=1_050.0, overlap_seconds=100)

    assert [one.until for one in second] == [None, 1_150.0, 1_100.0]


def test_secret_is_not_in_a_repr() -> None:
    secret = new_secret()

    assert secret.text not in repr(secret)
