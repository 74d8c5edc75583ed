"""Sessions of the review page: a cookie's random token, kept as its digest, for the key that opened it.

A session ends by its time, at the reviewer's wish, or with its key. Its CSRF token stands in every form of the page.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio

from darkroom.keys import ApiKey, Scope
from darkroom.redis_client import redis_errors


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in."""

    key: ApiKey
    csrf: str = field(repr=False)

    def wrote(self, csrf: str) -> bool:
        """Whether a form with this token is one of ours."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode(errors="replace"))


class ReviewSessions:
    """Opens, finds and closes sessions, for an event loop."""

    def __init__(self, client: redis.asyncio.Redis, *, seconds: int) -> None:
        self._redis = client
        self._seconds = seconds

    async def open(self, key: ApiKey) -> str:
        """The token of a new session."""
        token = secrets.token_urlsafe(32)
        kept = {
            "id": key.id,
            "owner": key.owner,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "person": key.person,
            "csrf": secrets.token_urlsafe(32),
        }
        with redis_errors():
            await self._redis.set(_name(token), json.dumps(kept), ex=self._seconds)
        return token

    async def find(self, token: str) -> Session | None:
        """The session of a token; whether its key still lives is the caller's question."""
        with redis_errors():
            text: Any = await self._redis.get(_name(token))
        if text is None:
            return None
        kept = json.loads(text)
        csrf, scopes = kept.pop("csrf"), frozenset(map(Scope, kept.pop("scopes")))
        return Session(ApiKey(scopes=scopes, **kept), csrf)

    async def close(self, token: str) -> None:
        with redis_errors():
            await self._redis.delete(_name(token))


def _name(token: str) -> str:
    return f"darkroom:session:{hashlib.sha256(token.encode(errors='replace')).hexdigest()}"
