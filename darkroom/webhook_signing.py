"""Signs deliveries as Standard Webhooks says: HMAC-SHA256 over `id.timestamp.body`, one secret for each receiver.

While a secret is being replaced, both sign, so that the receiver may change over at any moment in between.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

PREFIX = "whsec_"
SECRET_BYTES = 32


@dataclass(frozen=True)
class SigningSecret:
    """A secret as its owner sees it; one that was replaced still signs `until` then (Unix seconds)."""

    text: str
    until: float | None = None

    def __repr__(self) -> str:
        return f"SigningSecret(until={self.until!r})"


def new_secret() -> SigningSecret:
    return SigningSecret(PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode())


def replaced(old: Iterable[SigningSecret], *, now: float, overlap_seconds: float) -> tuple[SigningSecret, ...]:
    """A new secret, and those before it for as long as they go on signing; newest first."""
    until = now + overlap_seconds
    ending = (SigningSecret(one.text, until if one.until is None else min(one.until, until)) for one in old)
    return (new_secret(), *(one for one in ending if one.until is not None and one.until > now))


def signed_headers(signing: Iterable[SigningSecret], *, event_id: str, body: bytes, now: float) -> dict[str, str]:
    """The three headers of a delivery sent now."""
    timestamp = str(int(now))
    message = b".".join((event_id.encode(), timestamp.encode(), body))
    valid = (one for one in signing if one.until is None or one.until > now)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(one, message) for one in valid),
    }


def _signature(secret: SigningSecret, message: bytes) -> str:
    key = base64.b64decode(secret.text.removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, message, hashlib.sha256)).decode()
