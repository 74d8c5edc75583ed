"""Links to released images by a content delivery network, whose edge checks them before it answers.

The right to fetch is in the path: `/EXPIRES.SIGNATURE/KEY`, an HMAC-SHA256 over expiry and key. So the edge can keep
one copy under the key, however many links lead to it. Knows no network: `deploy/cdn/` holds what an edge runs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from pathlib import Path
from typing import Self

from darkroom.clock import unix_time
from darkroom.errors import ConfigurationError
from darkroom.object_store.keys import check_key
from darkroom.settings import ObjectStoreSettings

MIN_SECRET = 32  # characters
_RELEASED = "outputs/"  # what waits for review, and what callers sent, never goes to an edge
_PATH = re.compile(r"/(\d{1,12})\.([A-Za-z0-9_-]{43})/(.+)")


class CdnLinks:
    """Makes the links; `verify` says what an edge has to check."""

    def __init__(self, base_url: str, secret: bytes) -> None:
        self._base_url = base_url.rstrip("/")
        self._secret = secret

    @classmethod
    def from_settings(cls, settings: ObjectStoreSettings) -> Self | None:
        """None where there is no network.

        Raises:
            ConfigurationError: the file of the secret can't be used.
        """
        if settings.cdn_url is None or settings.cdn_secret_file is None:
            return None
        return cls(settings.cdn_url, _read_secret(settings.cdn_secret_file))

    def url(self, key: str, *, expires_in: int) -> str | None:
        """A link that works for `expires_in` seconds; None for what the network may not have."""
        if not check_key(key).startswith(_RELEASED):
            return None
        expires = int(unix_time()) + expires_in
        return f"{self._base_url}/{expires}.{self._signature(key, expires)}/{key}"

    def verify(self, path: str, now: float) -> str | None:
        """The key that a request's path may fetch at `now`, in Unix seconds; None for a link that is not ours."""
        if not (found := _PATH.fullmatch(path)):
            return None
        expires, signature, key = int(found[1]), found[2], found[3]
        genuine = hmac.compare_digest(self._signature(key, expires), signature)
        return key if genuine and now < expires else None

    def _signature(self, key: str, expires: int) -> str:
        digest = hmac.new(self._secret, f"darkroom-cdn-1\n{expires}\n{key}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _read_secret(path: Path) -> bytes:
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError("DARKROOM_CDN_SECRET_FILE can't be read") from None
    if not lines or len(lines[0]) < MIN_SECRET:
        raise ConfigurationError(f"DARKROOM_CDN_SECRET_FILE must begin with a word of {MIN_SECRET} characters or more")
    return lines[0].encode()
