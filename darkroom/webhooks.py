"""An owner's webhook endpoints, and the secrets that sign what is sent there.

`darkroom:endpoints:OWNER` is a hash: endpoint id -> JSON. The job scripts read `enabled` and `events` of it in the same
step as a job's change; URL and secrets are sealed. Webhooks that a job names itself are signed by a secret of the
owner's own, field OWNER of `darkroom:webhook-secrets`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import redis.asyncio

from darkroom.clock import unix_time
from darkroom.errors import EndpointNotFound, TooManyEndpoints
from darkroom.redis_client import redis_errors
from darkroom.sealing import Sealer
from darkroom.webhook_signing import SigningSecret, new_secret, replaced

MAX_ENDPOINTS = 16  # of one owner: a job's every change looks at them all
OWNER_SECRETS = "darkroom:webhook-secrets"
SCHEMA = 1


@dataclass(frozen=True)
class Endpoint:
    """Where an owner's events go."""

    id: str
    url: str = field(repr=False)
    events: tuple[str, ...]  # types; none means all
    description: str
    created_at: float
    enabled: bool = True
    disabled_because: str | None = None  # `gone` after a 410, `owner` at the owner's wish
    secrets: tuple[SigningSecret, ...] = ()  # newest first


class EndpointStore:
    """Keeps endpoints, on an event loop."""

    def __init__(self, client: redis.asyncio.Redis, sealer: Sealer) -> None:
        self._redis = client
        self._sealer = sealer

    async def create(self, owner: str, *, url: str, events: tuple[str, ...], description: str) -> Endpoint:
        """A new endpoint, with its first secret.

        Raises:
            TooManyEndpoints: the owner has as many as may be.
        """
        endpoint = Endpoint(
            id=f"ep_{secrets.token_hex(12)}",
            url=url,
            events=events,
            description=description,
            created_at=unix_time(),
            secrets=(new_secret(),),
        )
        with redis_errors():
            stored = await self._redis.eval(
                _CREATE, 1, _key(owner), endpoint.id, self._dump(endpoint), str(MAX_ENDPOINTS)
            )
        if not stored:
            raise TooManyEndpoints
        return endpoint

    async def all_of(self, owner: str) -> list[Endpoint]:
        """All of an owner's endpoints, oldest first."""
        with redis_errors():
            stored = await self._redis.hgetall(_key(owner))
        endpoints = [self._load(str(endpoint_id), str(text)) for endpoint_id, text in stored.items()]
        return sorted(endpoints, key=lambda endpoint: (endpoint.created_at, endpoint.id))

    async def find(self, owner: str, endpoint_id: str) -> Endpoint | None:
        with redis_errors():
            text = await self._redis.hget(_key(owner), endpoint_id)
        return None if text is None else self._load(endpoint_id, str(text))

    async def get(self, owner: str, endpoint_id: str) -> Endpoint:
        """One endpoint.

        Raises:
            EndpointNotFound: this owner has none of that id.
        """
        endpoint = await self.find(owner, endpoint_id)
        if endpoint is None:
            raise EndpointNotFound
        return endpoint

    async def update(self, owner: str, endpoint_id: str, **changes: Any) -> Endpoint:
        """Change some of an endpoint's fields.

        Raises:
            EndpointNotFound: this owner has none of that id.
        """
        return await self._change(owner, endpoint_id, lambda endpoint: replace(endpoint, **changes))

    async def rotate(self, owner: str, endpoint_id: str, *, overlap_seconds: float) -> Endpoint:
        """Give an endpoint a new secret; the one before goes on signing for a while.

        Raises:
            EndpointNotFound: this owner has none of that id.
        """

        def rotated(endpoint: Endpoint) -> Endpoint:
            now = unix_time()
            return replace(endpoint, secrets=replaced(endpoint.secrets, now=now, overlap_seconds=overlap_seconds))

        return await self._change(owner, endpoint_id, rotated)

    async def disable(self, owner: str, endpoint_id: str, *, because: str) -> None:
        """Send nothing there any more; one that was deleted meanwhile stays so."""
        with suppress(EndpointNotFound):
            await self.update(owner, endpoint_id, enabled=False, disabled_because=because)

    async def delete(self, owner: str, endpoint_id: str) -> None:
        """Forget an endpoint.

        Raises:
            EndpointNotFound: this owner has none of that id.
        """
        with redis_errors():
            deleted = await self._redis.hdel(_key(owner), endpoint_id)
        if not deleted:
            raise EndpointNotFound

    async def owner_secrets(self, owner: str) -> tuple[SigningSecret, ...]:
        """What signs the webhooks that this owner's jobs name themselves; made at the first use."""
        with redis_errors():
            text = await self._redis.hget(OWNER_SECRETS, owner)
            if text is None:
                made = json.dumps({"secrets": self._sealed((new_secret(),))})
                await self._redis.hsetnx(OWNER_SECRETS, owner, made)
                text = await self._redis.hget(OWNER_SECRETS, owner)
        return self._opened(json.loads(str(text))["secrets"])

    async def rotate_owner_secret(self, owner: str, *, overlap_seconds: float) -> SigningSecret:
        """A new secret for the webhooks that jobs name; the one before goes on signing for a while."""
        while True:
            with redis_errors():
                old = await self._redis.hget(OWNER_SECRETS, owner)
                before = () if old is None else self._opened(json.loads(old)["secrets"])
                after = replaced(before, now=unix_time(), overlap_seconds=overlap_seconds)
                text = json.dumps({"secrets": self._sealed(after)})
                if await self._redis.eval(_EXCHANGE, 1, OWNER_SECRETS, owner, old or "", text):
                    return after[0]

    async def _change(self, owner: str, endpoint_id: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
        while True:
            with redis_errors():
                old = await self._redis.hget(_key(owner), endpoint_id)
                if old is None:
                    raise EndpointNotFound
                changed = change(self._load(endpoint_id, str(old)))
                if await self._redis.eval(_EXCHANGE, 1, _key(owner), endpoint_id, old, self._dump(changed)):
                    return changed

    def _dump(self, endpoint: Endpoint) -> str:
        return json.dumps(
            {
                "schema": SCHEMA,
                "url": self._sealer.seal(endpoint.url),
                "events": endpoint.events,
                "description": endpoint.description,
                "created_at": endpoint.created_at,
                "enabled": endpoint.enabled,
                "disabled_because": endpoint.disabled_because,
                "secrets": self._sealed(endpoint.secrets),
            }
        )

    def _load(self, endpoint_id: str, text: str) -> Endpoint:
        stored: Mapping[str, Any] = json.loads(text)
        return Endpoint(
            id=endpoint_id,
            url=self._sealer.open(stored["url"]),
            events=tuple(stored["events"]),
            description=stored["description"],
            created_at=stored["created_at"],
            enabled=stored["enabled"],
            disabled_because=stored["disabled_because"],
            secrets=self._opened(stored["secrets"]),
        )

    def _sealed(self, signing: tuple[SigningSecret, ...]) -> list[dict[str, Any]]:
        return [{"sealed": self._sealer.seal(one.text), "until": one.until} for one in signing]

    def _opened(self, stored: list[dict[str, Any]]) -> tuple[SigningSecret, ...]:
        return tuple(SigningSecret(self._sealer.open(one["sealed"]), one["until"]) for one in stored)


# A repeated call finds what the first one wrote.
_CREATE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""
# A change is made to what was read, or not at all. Repeated after a lost reply, it says that it was made.
_EXCHANGE = """
local held = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if held == ARGV[3] then return 1 end
if held ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


def _key(owner: str) -> str:
    return f"darkroom:endpoints:{owner}"
