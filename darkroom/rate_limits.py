"""Limits on how often somebody may call: one script a call, so that all API processes count together.

A whole window's calls may come at once; after that they come back evenly. What "somebody" is, the caller says.
"""

from __future__ import annotations

import redis.asyncio
from redis.exceptions import NoScriptError

from darkroom.errors import Allowance, RateLimited
from darkroom.lua_scripts import load_script
from darkroom.redis_client import redis_errors

WINDOW_SECONDS = 60


class RateLimit:
    """One limit, by name."""

    def __init__(self, client: redis.asyncio.Redis, *, policy: str, per_minute: int) -> None:
        self._redis = client
        self._policy = policy
        self._quota = per_minute

    async def take(self, who: str) -> Allowance:
        """Count one call.

        Raises:
            RateLimited: there were too many.
        """
        script = load_script("rate")
        args = (f"darkroom:rate:{self._policy}:{who}", str(self._quota), str(WINDOW_SECONDS))
        with redis_errors():
            try:
                answer = await self._redis.evalsha(script.sha, 0, *args)
            except NoScriptError:
                answer = await self._redis.eval(script.text, 0, *args)
        admitted, remaining, reset, wait = answer
        allowance = Allowance(self._policy, self._quota, WINDOW_SECONDS, remaining, reset)
        if not admitted:
            raise RateLimited(allowance, retry_seconds=wait)
        return allowance
