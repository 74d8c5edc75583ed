"""One process out of several, for work that one is enough for: who holds the lease in Redis is elected.

The elected one renews the lease whenever it asks; when it dies, another one wins after the lease has run out.
"""

from __future__ import annotations

import redis

from darkroom.errors import JobStoreUnavailable
from darkroom.logs import get_logger
from darkroom.lua_scripts import run_script
from darkroom.redis_client import redis_errors

log = get_logger(__name__)


class Election:
    """One candidate's view of one election."""

    def __init__(self, client: redis.Redis, lease: str, *, name: str, seconds: float) -> None:
        """`lease` is a key of Redis, `name` the process's own among all candidates."""
        self._redis = client
        self._lease = lease
        self._name = name
        self._milliseconds = round(seconds * 1_000)

    def won(self) -> bool:
        """Whether this process is the one now."""
        return bool(run_script(self._redis, "elect", self._lease, self._name, self._milliseconds))

    def leave(self) -> None:
        """Leave the lease to another at once; while Redis is away, it runs out by itself."""
        try:
            with redis_errors():
                if self._redis.get(self._lease) == self._name:
                    self._redis.delete(self._lease)
        except JobStoreUnavailable:
            log.info("lease_left_to_expire", lease=self._lease)
