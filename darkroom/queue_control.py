"""What an operator stops for a while without losing a job: a tier, a model, an owner.

Jobs that run go on to their end; jobs that wait stay where they are. The claim script looks at every claim.
"""

from __future__ import annotations

import redis

from darkroom.jobs import Tier
from darkroom.redis_client import redis_errors

SUSPENDED = "darkroom:suspended"
PAUSED_TIERS, PAUSED_MODELS = "darkroom:paused:tiers", "darkroom:paused:models"


class QueueControl:
    """Pauses and suspensions, for every process of the service."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def suspend(self, owner: str) -> None:
        """Take no job of the owner, and start none."""
        self._add(SUSPENDED, owner)

    def resume(self, owner: str) -> None:
        self._remove(SUSPENDED, owner)

    def suspended(self) -> frozenset[str]:
        return self._members(SUSPENDED)

    def pause(self, *, tier: Tier | None = None, model: str | None = None) -> None:
        """Start no job of the tier, or of the model; they are still taken."""
        if tier:
            self._add(PAUSED_TIERS, tier)
        if model:
            self._add(PAUSED_MODELS, model)

    def unpause(self, *, tier: Tier | None = None, model: str | None = None) -> None:
        if tier:
            self._remove(PAUSED_TIERS, tier)
        if model:
            self._remove(PAUSED_MODELS, model)

    def paused_tiers(self) -> frozenset[str]:
        return self._members(PAUSED_TIERS)

    def paused_models(self) -> frozenset[str]:
        return self._members(PAUSED_MODELS)

    def waiting(self, owner: str) -> int:
        """Queued jobs of the owner, in all tiers."""
        with redis_errors():
            return int(self._redis.scard(f"darkroom:waiting:{owner}"))

    def running(self, owner: str) -> int:
        with redis_errors():
            return int(self._redis.scard(f"darkroom:running:{owner}"))

    def owners_at_work(self) -> frozenset[str]:
        """Owners with jobs that wait or run."""
        found = set()
        with redis_errors():
            for prefix in ("darkroom:waiting:", "darkroom:running:"):
                found |= {key.removeprefix(prefix) for key in self._redis.scan_iter(f"{prefix}*", count=1_000)}
        return frozenset(found)

    def _add(self, name: str, member: str) -> None:
        with redis_errors():
            self._redis.sadd(name, member)

    def _remove(self, name: str, member: str) -> None:
        with redis_errors():
            self._redis.srem(name, member)

    def _members(self, name: str) -> frozenset[str]:
        with redis_errors():
            return frozenset(str(member) for member in self._redis.smembers(name))
