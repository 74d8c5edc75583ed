"""What came of the latest deliveries to each webhook endpoint, for its owner to read. Bounded; never a reply's text.

`darkroom:delivery-log:OWNER:TARGET` is a list of JSON, newest first; TARGET is an endpoint's id, or `job` for the
webhooks that jobs name themselves.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import redis.asyncio

from darkroom.redis_client import redis_errors

ENTRIES = 200  # of one endpoint
KEPT_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class LogEntry:
    """One attempt."""

    event: str  # the constant event id
    type: str
    job: str
    attempt: int
    at: float  # Unix seconds
    result: str  # delivered, retried, dead
    status: int | None  # of the reply
    failure: str | None  # why there was none
    seconds: float
    next_at: float | None


class DeliveryLog:
    """The log of all endpoints."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def add(self, owner: str, target: str, entry: LogEntry) -> None:
        key = _key(owner, target)
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.lpush(key, json.dumps(asdict(entry)))
                pipe.ltrim(key, 0, ENTRIES - 1)
                pipe.expire(key, KEPT_SECONDS)
                await pipe.execute()

    async def latest(self, owner: str, target: str, *, limit: int) -> list[LogEntry]:
        """Newest first."""
        with redis_errors():
            entries = await self._redis.lrange(_key(owner, target), 0, limit - 1)
        return [LogEntry(**json.loads(entry)) for entry in entries]

    async def forget(self, owner: str, target: str) -> None:
        with redis_errors():
            await self._redis.delete(_key(owner, target))


def _key(owner: str, target: str) -> str:
    return f"darkroom:delivery-log:{owner}:{target}"
