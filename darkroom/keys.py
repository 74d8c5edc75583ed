"""API keys: `dk_<id>_<secret>`, shown once, kept as a SHA-256 beside their owner, scopes and expiry.

The secret has 256 random bits, so a plain digest is enough at rest. After a rotation the old secret works beside the
new one for a while. Nothing is cached: a revoked key is dead with the next request. `verify` is the one thing both
sides need: it exists for threads (`KeyStore`) and for the event loop (`AsyncKeyStore`), over the same record and the
same judgement.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis
import redis.asyncio

from darkroom.clock import unix_time
from darkroom.errors import ConfigurationError, JobStoreUnavailable
from darkroom.redis_client import redis_errors

KEYS = "darkroom:keys"  # set of all key ids
LOOK_SECONDS = 2.0  # between two looks at a key whose request still goes on
TOUCH_SECONDS = 60  # `last_used_at` is this coarse, so that a busy key costs no write per request
_TOKEN = re.compile(r"dk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_PERSON = re.compile(r"[\w][\w .@+-]{0,63}")
_NO_DIGEST = "0" * 64  # compared against when there is no such key, so that both answers take the same time


class Scope(StrEnum):
    """What a key may do."""

    GENERATE = "generate"  #: submit jobs
    READ = "read"  #: read the owner's jobs and images
    CANCEL = "cancel"  #: cancel the owner's jobs, delete those that ended
    REVIEW = "review"  #: work the review queue
    SEALED = "sealed"  #: see the sealed list: what the child-safety rule refused
    ADMIN = "admin"  #: operate the service


DEFAULT_SCOPES = frozenset({Scope.GENERATE, Scope.READ, Scope.CANCEL})


@dataclass(frozen=True)
class ApiKey:
    """A key as everybody may see it, without its secret."""

    id: str
    owner: str
    name: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    person: str | None = None  # who holds it

    @property
    def actor(self) -> str:
        """Who decides with this key: keys of one person count as one, and so do an owner's keys that name nobody."""
        return self.person or f"owner:{self.owner}"


@dataclass(frozen=True)
class NewKey:
    """A key just made; `token` is shown this once."""

    key: ApiKey
    token: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.key.id!r}, owner={self.key.owner!r})"


class KeyStore:
    """Makes, checks, lists and revokes keys."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def create(
        self,
        owner: str,
        name: str,
        scopes: Collection[Scope | str] = DEFAULT_SCOPES,
        expires_at: float | None = None,
        person: str | None = None,
    ) -> NewKey:
        """A new key; `expires_at` in Unix seconds, `person` who will hold it.

        Raises:
            ConfigurationError: the person's name is none, or the owner's is kept for shadow runs.
        """
        if owner.startswith("@"):
            raise ConfigurationError("an owner's name can't begin with @")
        key = ApiKey(
            id=secrets.token_hex(6),
            owner=owner,
            name=name,
            scopes=frozenset(Scope(scope) for scope in scopes),
            created_at=unix_time(),
            expires_at=expires_at,
            person=person_name(person),
        )
        secret = secrets.token_urlsafe(32)
        with redis_errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(_record(key.id), mapping=_fields(key, digest=_digest(secret)))
            pipe.sadd(KEYS, key.id)
            pipe.execute()
        return NewKey(key=key, token=f"dk_{key.id}_{secret}")

    def verify(self, token: str) -> ApiKey | None:
        """The key behind a token, or None for an unknown, wrong, revoked or expired one."""
        key_id, secret = _split(token)
        now = unix_time()
        with redis_errors():
            key = _judge(key_id, secret, self._redis.hgetall(_record(key_id)), now=now)
            if key and _is_stale(key, now):
                self._redis.eval(*_touch(key, now))
        return key

    def rotate(self, key_id: str, *, overlap_seconds: float) -> NewKey | None:
        """A new secret for a key; the old one works on for a while, an older one no longer. None for an unknown id."""
        secret = secrets.token_urlsafe(32)
        with redis_errors():
            kept = self._redis.eval(_ROTATE, 1, _record(key_id), _digest(secret), repr(unix_time() + overlap_seconds))
            record = self._redis.hgetall(_record(key_id)) if kept else {}
        return NewKey(key=_key(key_id, record), token=f"dk_{key_id}_{secret}") if record else None

    def revoke(self, key_id: str) -> bool:
        """Delete a key at once; False when there was none."""
        with redis_errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(_record(key_id))
            pipe.srem(KEYS, key_id)
            deleted, _ = pipe.execute()
        return bool(deleted)

    def list(self, owner: str | None = None) -> list[ApiKey]:
        """All keys, or one owner's, oldest first."""
        with redis_errors():
            ids = sorted(str(key_id) for key_id in self._redis.smembers(KEYS))
            with self._redis.pipeline(transaction=False) as pipe:
                for key_id in ids:
                    pipe.hgetall(_record(key_id))
                records = pipe.execute()
        keys = [_key(key_id, record) for key_id, record in zip(ids, records, strict=True) if record]
        return sorted((key for key in keys if owner in (None, key.owner)), key=lambda key: key.created_at)


def person_name(text: str | None) -> str | None:
    """A person's name as keys hold it: in lower case, so that one person is not two.

    Raises:
        ConfigurationError: it is empty, too long, or holds what a name does not.
    """
    if text is None:
        return None
    name = text.strip().lower()
    if not _PERSON.fullmatch(name):
        raise ConfigurationError("a person's name has 1 to 64 letters, digits, spaces and . @ + - _")
    return name


class AsyncKeyStore:
    """Checks keys on the event loop."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def verify(self, token: str) -> ApiKey | None:
        """The key behind a token, or None for an unknown, wrong, revoked or expired one."""
        key_id, secret = _split(token)
        now = unix_time()
        with redis_errors():
            key = _judge(key_id, secret, await self._redis.hgetall(_record(key_id)), now=now)
            if key and _is_stale(key, now):
                await self._redis.eval(*_touch(key, now))
        return key

    async def until_dead(self, key: ApiKey) -> None:
        """Return some seconds after the key was revoked or has expired; for answers that take long."""
        alive = True
        while alive:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(JobStoreUnavailable):
                alive = await self.is_alive(key)

    async def is_alive(self, key: ApiKey) -> bool:
        """Whether a key that was valid a while ago is so still."""
        if key.expires_at is not None and key.expires_at <= unix_time():
            return False
        with redis_errors():
            return bool(await self._redis.exists(_record(key.id)))


# Only an existing record is touched: a key revoked a moment ago must not come back as half a hash.
_TOUCH = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'last_used_at', ARGV[1]) end"


# In one step, so that there is never a moment without a valid secret, nor two rotations in one.
_ROTATE = """
local old = redis.call('HGET', KEYS[1], 'digest')
if not old then return 0 end
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'old_digest', old, 'old_until', ARGV[2])
return 1
"""


def _touch(key: ApiKey, now: float) -> tuple[str, int, str, str]:
    return _TOUCH, 1, _record(key.id), repr(now)


def _is_stale(key: ApiKey, now: float) -> bool:
    return key.last_used_at is None or now - key.last_used_at >= TOUCH_SECONDS


def _record(key_id: str) -> str:
    return f"darkroom:key:{key_id}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _split(token: str) -> tuple[str, str]:
    match = _TOKEN.fullmatch(token)
    return (match[1], match[2]) if match else ("", "")


def _judge(key_id: str, secret: str, record: Mapping[Any, Any], *, now: float) -> ApiKey | None:
    digest = _digest(secret)
    is_new = hmac.compare_digest(record.get("digest", _NO_DIGEST), digest)
    is_old = hmac.compare_digest(record.get("old_digest", _NO_DIGEST), digest)
    if not (is_new or (is_old and float(record["old_until"]) > now)):
        return None
    key = _key(key_id, record)
    return None if key.expires_at is not None and key.expires_at <= now else key


def _fields(key: ApiKey, *, digest: str) -> dict[Any, Any]:
    return {
        "digest": digest,
        "owner": key.owner,
        "name": key.name,
        "scopes": " ".join(sorted(key.scopes)),
        "created_at": repr(key.created_at),
        "expires_at": "" if key.expires_at is None else repr(key.expires_at),
        "person": key.person or "",
    }


def _key(key_id: str, record: Mapping[Any, Any]) -> ApiKey:
    return ApiKey(
        id=key_id,
        owner=record["owner"],
        name=record["name"],
        scopes=frozenset(Scope(scope) for scope in record["scopes"].split()),
        created_at=float(record["created_at"]),
        expires_at=_optional(record.get("expires_at")),
        last_used_at=_optional(record.get("last_used_at")),
        person=record.get("person") or None,
    )


def _optional(text: str | None) -> float | None:
    return float(text) if text else None
