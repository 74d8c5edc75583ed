"""Prompts that were refused or held, counted for each API key: who keeps trying is slowed down, then held.

A check that gave no answer is nobody's fault and is never counted. Knows no prompt and no verdict, only weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from darkroom.errors import Allowance, KeyHeld, KeySlowed
from darkroom.lua_scripts import load_script, run_script
from darkroom.redis_client import redis_errors
from darkroom.settings import SafetySettings

REFUSED, HELD = 1.0, 0.25  # what a refused prompt counts, and one that only waits for a person
FIRST_WAIT_SECONDS = 10
LONGEST_WAIT_SECONDS = 600
_HELD_KEYS = "darkroom:held_keys"


@dataclass(frozen=True)
class _Standing:
    """How a key stands: seconds until it is free, and whether it is held."""

    wait: float
    held: bool

    def require_free(self) -> None:
        if self.held:
            raise KeyHeld
        if self.wait > 0:
            seconds = max(round(self.wait), 1)
            raise KeySlowed(Allowance("near_misses", 0, None, 0, seconds), retry_seconds=seconds)


class NearMisses:
    """The counts, for threads."""

    def __init__(self, client: redis.Redis, settings: SafetySettings) -> None:
        self._redis = client
        self._settings = settings

    def note(self, key_id: str, weight: float) -> float:
        """Count a prompt of the key; the count afterwards."""
        return float(run_script(self._redis, "near_miss", *_args(key_id, weight, self._settings)))

    def held(self) -> Mapping[str, float]:
        """The keys that are held, and since when."""
        with redis_errors():
            return {str(key): float(since) for key, since in self._redis.hgetall(_HELD_KEYS).items()}

    def release(self, key_id: str) -> bool:
        """Let a key go and forget what it counted; whether it was held."""
        with redis_errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(_HELD_KEYS, key_id)
            pipe.delete(_name(key_id))
            return bool(pipe.execute()[0])


class AsyncNearMisses:
    """The counts, for the event loop."""

    def __init__(self, client: redis.asyncio.Redis, settings: SafetySettings) -> None:
        self._redis = client
        self._settings = settings

    async def note(self, key_id: str, weight: float) -> float:
        """Count a prompt of the key; the count afterwards."""
        script, args = load_script("near_miss"), _args(key_id, weight, self._settings)
        with redis_errors():
            try:
                return float(await self._redis.evalsha(script.sha, 0, *args))
            except NoScriptError:
                return float(await self._redis.eval(script.text, 0, *args))

    async def require_free(self, key_id: str) -> None:
        """Let the key's request through.

        Raises:
            KeySlowed: it has to wait.
            KeyHeld: a person has to let it go first.
        """
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.time()
                pipe.hget(_name(key_id), "free_at")
                pipe.hexists(_HELD_KEYS, key_id)
                (seconds, micros), free_at, held = await pipe.execute()
        now = int(seconds) + int(micros) / 1e6
        _Standing(float(free_at or 0) - now, bool(held)).require_free()


def _args(key_id: str, weight: float, settings: SafetySettings) -> tuple[Any, ...]:
    return (
        key_id,
        weight,
        settings.near_miss_half_life_seconds,
        settings.near_miss_slow,
        settings.near_miss_hold,
        FIRST_WAIT_SECONDS,
        LONGEST_WAIT_SECONDS,
    )


def _name(key_id: str) -> str:
    return f"darkroom:misses:{key_id}"
