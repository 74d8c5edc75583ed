"""The job store for the API's event loop: what callers may do.

It runs the same commands as `JobStore`, so that neither has logic of its own. Files of the archive are read in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import redis.asyncio
from redis.exceptions import NoScriptError

from darkroom.job_answers import IdempotencyKey, Page, QueueState, Quote, Submitted, TierCounts
from darkroom.job_archive import JobArchive, archived_job, listed_job
from darkroom.job_commands import callers, upkeep
from darkroom.job_commands.callers import DEFAULT_PAGE, DEFAULT_TERMS
from darkroom.job_commands.command import Command
from darkroom.jobs import Job, JobStatus, Tier
from darkroom.owners import OwnerSettings
from darkroom.params import GenerationParams
from darkroom.redis_client import redis_errors
from darkroom.sealing import Sealer
from darkroom.settings import JobSettings

T = TypeVar("T")


class AsyncJobStore:
    """The job store for the API's event loop: what a caller may do."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        settings: JobSettings | None = None,
        sealer: Sealer | None = None,
        archive: JobArchive | None = None,
    ) -> None:
        self._redis = client
        self._archive = archive
        self._sealer = sealer
        self._settings = settings or JobSettings.from_env()

    async def submit(
        self,
        job: Job,
        *,
        idempotency: IdempotencyKey | None = None,
        deadline_seconds: int | None = None,
        retention_seconds: int | None = None,
        terms: OwnerSettings = DEFAULT_TERMS,
    ) -> Submitted:
        return await self._run(
            callers.submit(
                job,
                idempotency=idempotency,
                deadline_seconds=deadline_seconds,
                settings=self._settings,
                sealer=self._sealer,
                retention_seconds=retention_seconds,
                terms=terms,
            )
        )

    async def require_room(
        self, job: Job, *, idempotency: IdempotencyKey | None = None, terms: OwnerSettings = DEFAULT_TERMS
    ) -> None:
        """Look whether a job would be taken now, before anything is stored for it; `submit` decides again.

        Raises:
            OwnerSuspended, QuotaExceeded, Overloaded: it would not be.
        """
        await self._run(callers.admission(job, idempotency=idempotency, settings=self._settings, terms=terms))

    async def quote(self, params: GenerationParams, tier: Tier) -> Quote:
        """What a job of this recipe would take."""
        return await self._run(callers.quote(params, tier))

    async def get(self, job_id: str, *, owner: str) -> Job:
        job = await self._run(callers.get(job_id, owner=owner, sealer=self._sealer))
        if job is None:
            job = await asyncio.to_thread(archived_job, self._archive, job_id, owner=owner)
        return job

    async def find(self, job_id: str) -> Job:
        """Anybody's job: for those who oversee the service, never for an owner."""
        job, owner = await self._run(callers.find(job_id, sealer=self._sealer))
        if job is None:
            job = await asyncio.to_thread(archived_job, self._archive, job_id, owner=owner)
        return job

    async def list_jobs(
        self, owner: str, *, status: JobStatus | None = None, limit: int = DEFAULT_PAGE, cursor: str | None = None
    ) -> Page:
        listed = await self._run(
            callers.list_jobs(owner, status=status, limit=limit, cursor=cursor, sealer=self._sealer)
        )
        jobs = await asyncio.gather(*(self._of_row(row, owner, status) for row in listed.rows))
        return Page(tuple(job for job in jobs if job is not None), listed.next_cursor)

    async def _of_row(self, row: Job | str, owner: str, status: JobStatus | None) -> Job | None:
        """Off the loop where it is a file that has to be read."""
        if isinstance(row, Job):
            return row
        return await asyncio.to_thread(listed_job, self._archive, row, owner=owner, status=status)

    async def cancel(self, job_id: str, *, owner: str) -> Job:
        return await self._run(callers.cancel(job_id, owner=owner, sealer=self._sealer))

    async def rate(self, job_id: str, rating: int, *, owner: str) -> Job:
        return await self._run(callers.rate(job_id, rating, owner=owner, sealer=self._sealer))

    async def delete(self, job_id: str, *, owner: str) -> None:
        await self._run(callers.delete(job_id, owner=owner, settings=self._settings))

    async def swept(self, job_id: str) -> None:
        await self._run(upkeep.swept(job_id))

    async def queue_state(self, job_id: str) -> QueueState | None:
        return await self._run(callers.queue_state(job_id))

    async def counts(self) -> Mapping[Tier, TierCounts]:
        return {tier: await self._run(upkeep.counts(tier)) for tier in Tier}

    async def ping(self) -> None:
        """Return when the store answers, or raise JobStoreUnavailable."""
        with redis_errors():
            await self._redis.ping()

    async def _run(self, command: Command[T]) -> T:
        script, args = command.script, command.args
        with redis_errors():
            try:
                answer: Any = await self._redis.evalsha(script.sha, 0, *args)
            except NoScriptError:
                answer = await self._redis.eval(script.text, 0, *args)
        return command.parse(answer)
