"""Whether this process can serve: Redis answers and the object store takes writes.

Answers are kept for two seconds, and one check runs at a time, so that probes cost nothing however many come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping

import anyio.to_thread

from darkroom.async_job_store import AsyncJobStore
from darkroom.errors import DarkroomError
from darkroom.logs import get_logger
from darkroom.object_store import ObjectStore

KEEP_SECONDS = 2.0
TIMEOUT_SECONDS = 3.0
log = get_logger(__name__)


class Readiness:
    """The state of the parts that requests need."""

    def __init__(self, jobs: AsyncJobStore, objects: ObjectStore) -> None:
        self._jobs = jobs
        self._objects = objects
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._parts: Mapping[str, bool] = {}

    async def parts(self) -> Mapping[str, bool]:
        """Each part's name, and whether it answers."""
        async with self._lock:
            if time.monotonic() - self._checked_at >= KEEP_SECONDS:
                job_store, object_store = await asyncio.gather(
                    _answers("job_store", self._jobs.ping()), _answers("object_store", self._check_objects())
                )
                self._parts = {"job_store": job_store, "object_store": object_store}
                self._checked_at = time.monotonic()
            return self._parts

    async def _check_objects(self) -> None:
        # A check that hangs is left behind, else the time-out would wait for it.
        await anyio.to_thread.run_sync(self._objects.check, abandon_on_cancel=True)


async def _answers(part: str, check: Awaitable[None]) -> bool:
    try:
        await asyncio.wait_for(check, TIMEOUT_SECONDS)
    except (DarkroomError, TimeoutError) as error:
        log.warning("part_not_ready", part=part, error=type(error).__name__)
        return False
    return True
