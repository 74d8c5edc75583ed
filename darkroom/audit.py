"""The audit log: who did what to which job, append-only, each entry chained to the one before it.

The chain is written by Lua, so that scripts that decide something write their entry in the same step; here it is read
and appended to by code that only wants to note a deed. What lies in the object store is `audit_segments`' affair.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from darkroom.errors import AuditBroken
from darkroom.lua_scripts import load_script, run_script
from darkroom.redis_client import redis_errors

AUDIT = "darkroom:audit"  # the stream of entries that are not sealed yet
AUDIT_HEAD = "darkroom:audit:head"
NO_HASH = "0" * 64  # what the first entry is chained to
_NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True)
class Entry:
    """One deed. Everything but `seq` is the text that was hashed."""

    seq: int
    time: str  # Unix seconds by Redis' clock
    actor: str  # a person, or the part of the service that did it
    action: str  # such as `review.decided`
    subject: str  # mostly a job's id
    details: str  # JSON
    prev: str
    hash: str

    def follows(self, before: str, *, seq: int) -> None:
        """Raise `AuditBroken` unless this is the entry `seq`, chained to the hash `before`, and unchanged."""
        said = (self.prev, str(self.seq), self.time, self.actor, self.action, self.subject, self.details)
        if self.seq != seq:
            raise AuditBroken(f"The audit log goes from entry {seq - 1} to entry {self.seq}.")
        if self.prev != before:
            raise AuditBroken(f"Entry {seq} of the audit log is not chained to the one before it.")
        if hashlib.sha256("\n".join(said).encode()).hexdigest() != self.hash:
            raise AuditBroken(f"Entry {seq} of the audit log was changed.")

    def as_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> Entry:
        """An entry of a segment; `AuditBroken` for anything else."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            raise AuditBroken("A segment of the audit log holds something that is no entry.") from None


class AuditLog:
    """The log, for threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def append(self, actor: str, action: str, subject: str, details: Mapping[str, object] = _NOTHING) -> int:
        """Add an entry; gives its number."""
        return int(run_script(self._redis, "audit", *_arguments(actor, action, subject, details)))

    def unsealed(self, *, after: int = 0, limit: int) -> list[Entry]:
        """Entries that are still in Redis, from the one behind `after` on."""
        with redis_errors():
            found: Any = self._redis.xrange(AUDIT, min=f"{after + 1}-0", count=limit)
        return [_entry(place, fields) for place, fields in found]

    def head(self) -> tuple[int, str]:
        """Number and hash of the latest entry."""
        with redis_errors():
            seq, digest = self._redis.hmget(AUDIT_HEAD, "seq", "hash")
        return int(seq or 0), str(digest or NO_HASH)

    def sealed(self, seq: int) -> None:
        """Drop the entries up to this one: they lie in the object store now."""
        run_script(self._redis, "audit_sealed", seq)


class AsyncAuditLog:
    """The log, for the API's event loop: it only adds."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def append(self, actor: str, action: str, subject: str, details: Mapping[str, object] = _NOTHING) -> int:
        """Add an entry; gives its number."""
        script, args = load_script("audit"), _arguments(actor, action, subject, details)
        with redis_errors():
            try:
                return int(await self._redis.evalsha(script.sha, 0, *args))
            except NoScriptError:
                return int(await self._redis.eval(script.text, 0, *args))


def _arguments(actor: str, action: str, subject: str, details: Mapping[str, object]) -> Sequence[str]:
    """The script's arguments; names are ours, so a newline in one is a bug."""
    assert not any("\n" in name for name in (actor, action, subject)), "entries are hashed line by line"
    return secrets.token_hex(8), actor, action, subject, json.dumps(details, sort_keys=True)


def _entry(place: str, fields: Mapping[str, Any]) -> Entry:
    names = ("time", "actor", "action", "subject", "details", "prev", "hash")
    return Entry(int(place.partition("-")[0]), *(str(fields[name]) for name in names))
