"""The job store: one method a transition, each one Lua script, so that each change happens whole or not at all.

The record is the truth; tickets are only hints. Every script is idempotent, because the Redis client repeats a call
whose reply was lost. `JobStore` is for threads (worker, reaper, command line); `AsyncJobStore` runs the same commands
for the API's event loop. Times come from Redis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import Any, TypeVar

import redis
from redis.exceptions import NoScriptError

from darkroom.errors import ClaimLost, Transient
from darkroom.job_answers import (
    Claim,
    Committed,
    Filed,
    IdempotencyKey,
    Lease,
    Page,
    QueueState,
    Reaped,
    Submitted,
    Tidied,
    TierCounts,
)
from darkroom.job_archive import JobArchive, archived_job, listed_job
from darkroom.job_commands import callers, upkeep, workers
from darkroom.job_commands.callers import DEFAULT_PAGE, DEFAULT_TERMS
from darkroom.job_commands.command import Command
from darkroom.jobs import ImageRecord, Job, JobError, JobStatus, Tier
from darkroom.judgements import Judgement
from darkroom.owners import OwnerSettings
from darkroom.previews import Preview
from darkroom.queue_control import PAUSED_TIERS, SUSPENDED
from darkroom.redis_client import redis_errors
from darkroom.sealing import Sealer
from darkroom.settings import JobSettings

__all__ = [
    "Claim",
    "Committed",
    "Filed",
    "IdempotencyKey",
    "JobStore",
    "Lease",
    "Page",
    "QueueState",
    "Reaped",
    "Submitted",
    "Tidied",
    "TierCounts",
]

S = TypeVar("S")
T = TypeVar("T")
REAP_LIMIT = 500  # jobs one script call may change; more wait for the next round
TIDY_LIMIT = 100  # jobs of one portion of retention; each takes some calls to the object store
_FAULT = JobError(code=Transient.code, message=Transient().detail)


class JobStore:
    """The job store for threads."""

    def __init__(
        self,
        client: redis.Redis,
        settings: JobSettings | None = None,
        sealer: Sealer | None = None,
        archive: JobArchive | None = None,
    ) -> None:
        """Without a sealer, records hold prompts open; without an archive they stay in Redis. Services pass both."""
        self._redis = client
        self._archive = archive
        self._sealer = sealer
        self._settings = settings or JobSettings.from_env()

    def submit(
        self,
        job: Job,
        *,
        idempotency: IdempotencyKey | None = None,
        deadline_seconds: int | None = None,
        retention_seconds: int | None = None,
        terms: OwnerSettings = DEFAULT_TERMS,
    ) -> Submitted:
        """Store a new job, queued or blocked, within what its owner's terms and the service allow.

        Raises:
            OwnerSuspended, QuotaExceeded, Overloaded: and nothing was stored.
            IdempotencyMismatch: when the key was used with another body.
        """
        return self._run(
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

    def get(self, job_id: str, *, owner: str) -> Job:
        """The owner's job; JobNotFound for everybody else's too."""
        job = self._run(callers.get(job_id, owner=owner, sealer=self._sealer))
        return archived_job(self._archive, job_id, owner=owner) if job is None else job

    def list_jobs(
        self, owner: str, *, status: JobStatus | None = None, limit: int = DEFAULT_PAGE, cursor: str | None = None
    ) -> Page:
        """One page of the owner's jobs, newest first, archived ones too."""
        listed = self._run(callers.list_jobs(owner, status=status, limit=limit, cursor=cursor, sealer=self._sealer))
        jobs = (listed_job(self._archive, row, owner=owner, status=status) for row in listed.rows)
        return Page(tuple(job for job in jobs if job is not None), listed.next_cursor)

    def cancel(self, job_id: str, *, owner: str) -> Job:
        """Cancel a waiting job at once, ask a running one's worker to stop; a cancelled one stays cancelled.

        Raises:
            JobNotCancellable: when it has ended otherwise.
        """
        return self._run(callers.cancel(job_id, owner=owner, sealer=self._sealer))

    def delete(self, job_id: str, *, owner: str) -> None:
        """Remove an ended job, archived or not. Its objects come next: delete them, then call `swept`.

        Raises:
            JobNotEnded: it still waits or runs.
            JobHeld: a legal hold keeps it.
            JobGone: it is removed already.
        """
        self._run(callers.delete(job_id, owner=owner, settings=self._settings))

    def swept(self, job_id: str) -> None:
        """The deleted job's objects are deleted; without this call the reaper deletes them."""
        self._run(upkeep.swept(job_id))

    def queue_state(self, job_id: str) -> QueueState | None:
        """Where the job stands in its queue; None unless it is queued."""
        return self._run(callers.queue_state(job_id))

    def counts(self) -> Mapping[Tier, TierCounts]:
        return {tier: self._run(upkeep.counts(tier)) for tier in Tier}

    def claimable(self, tier: Tier) -> int:
        """Jobs that could be claimed now: none of a tier that is paused, and of no owner who is suspended."""
        with redis_errors():
            if self._redis.sismember(PAUSED_TIERS, tier):
                return 0
            stopped: Any = self._redis.smembers(SUSPENDED)
            with self._redis.pipeline(transaction=False) as pipe:
                for owner in stopped:
                    pipe.zcard(f"darkroom:line:{tier}:{owner}")
                pipe.zcard(f"darkroom:ready:{tier}")
                pipe.zcard(f"darkroom:suspects:{tier}")
                *held, ready, suspects = map(int, pipe.execute())
        return max(ready - sum(held), 0) + suspects

    def claim(
        self,
        *,
        tier: Tier,
        worker: str,
        nonce: str,
        lease_seconds: float,
        models: Collection[str] | None,
        suspects_last: bool = False,
        suspects: bool = True,
        warm: Collection[str] = (),
    ) -> Claim | None:
        """Take the job of the tier whose turn it is and that the worker can run; None when there is none.

        A suspect, a job that may end its process, goes only to a worker that has nothing else in hand, and comes first.

        Args:
            nonce: new for each claim, the same for its repetitions.
            models: names the worker can run, or None for all.
            suspects_last: take a suspect only where nothing else waits.
            suspects: whether to take one at all.
            warm: what goes first among equally fair jobs: `MODEL` for one in memory, `MODEL@WxH` for one that runs.

        Raises:
            ClaimHeld: when the worker has to finish what it has in hand first.
        """
        return self._run(
            workers.claim(
                tier=tier,
                worker=worker,
                nonce=nonce,
                lease_seconds=lease_seconds,
                models=models,
                suspects_last=suspects_last,
                suspects=suspects,
                warm=warm,
                settings=self._settings,
                sealer=self._sealer,
            )
        )

    def renew(self, claims: Sequence[Claim]) -> Mapping[str, Lease]:
        """Prolong all leases of a process in one call; what became of each, by job id."""
        return self._run(workers.renew(claims)) if claims else {}

    def progress(self, claim: Claim, *, step: int, steps: int, device_us: int = 0) -> None:
        """Note how far the job is; `device_us` counts as spent should this attempt be lost."""
        self._run(workers.progress(claim, step=step, steps=steps, device_us=device_us))

    def preview(self, claim: Claim, preview: Preview) -> bool:
        """Hand a picture of an unfinished image on to those who follow the job; False where the claim is lost."""
        return self._run(workers.preview(claim, preview.as_message()))

    def rewrite(self, claim: Claim, job: Job) -> Claim:
        """Write the claimed job's texts, and whether its images are held, before anything is made of it.

        Raises:
            ClaimLost: the job is somebody else's by now.
        """
        if not self._run(workers.rewrite(job, attempt=claim.attempt, sealer=self._sealer)):
            raise ClaimLost
        return replace(claim, job=job)

    def commit(
        self,
        claim: Claim,
        *,
        status: JobStatus,
        images: Sequence[ImageRecord] = (),
        error: JobError | None = None,
        findings: Sequence[Judgement] = (),
        device_us: int = 0,
    ) -> Committed:
        """End the run with a result, if the claim still holds. `findings` are added to those the job came with."""
        return self._run(
            workers.commit(claim, status=status, images=images, error=error, findings=findings, device_us=device_us)
        )

    def release(
        self,
        claim: Claim,
        *,
        not_before_seconds: float = 0,
        transient: bool = False,
        broke: bool = False,
        error: JobError = _FAULT,
        device_us: int = 0,
    ) -> None:
        """Give the job back to the queue; a claim that is already lost changes nothing.

        Args:
            transient: a part was not answering; after a few of these the job fails with `error`.
            broke: this process can't go on; to its jobs that is the same as its death.
        """
        self._run(
            workers.release(
                claim,
                not_before_seconds=not_before_seconds,
                transient=transient,
                broke=broke,
                error=error,
                device_us=device_us,
                settings=self._settings,
            )
        )

    def withdraw(self, models: Collection[str]) -> int:
        """Fail the waiting jobs of models that the operator has withdrawn; how many that were."""
        return sum(
            self._run(upkeep.withdraw(tier, model, limit=REAP_LIMIT)) for tier in Tier for model in sorted(models)
        )

    def rate(self, job_id: str, rating: int, *, owner: str) -> Job:
        """Keep the owner's rating, instead of an earlier one.

        Raises:
            JobNotRateable: it did not succeed, or its record is archived.
        """
        return self._run(callers.rate(job_id, rating, owner=owner, sealer=self._sealer))

    def filed(self, attempts: Sequence[tuple[str, str]]) -> list[Filed]:
        """What records say of the files of these jobs' attempts; '' as attempt for those that came with the job."""
        return self._run(upkeep.filed(attempts)) if attempts else []

    def reap(self, *, leases: bool = True) -> Reaped:
        """One round: lost leases, deadlines, not-before times. Any number of reapers may run.

        Args:
            leases: take back jobs whose lease ran out; not right after an outage, when their workers could not renew.
        """
        ends: Counter[str] = Counter()
        ready = 0
        for tier in Tier:
            if leases:
                ends.update(self._run(upkeep.reap_leases(tier, limit=REAP_LIMIT, settings=self._settings)))
            ready += self._run(upkeep.reap_delayed(tier, limit=REAP_LIMIT))
        ends.update(self._run(upkeep.reap_deadlines(limit=REAP_LIMIT)))
        return Reaped(
            requeued=ends[JobStatus.QUEUED],
            failed=ends[JobStatus.FAILED],
            cancelled=ends[JobStatus.CANCELLED],
            expired=ends[JobStatus.EXPIRED],
            ready=ready,
        )

    def tidy(self, delete_objects: Callable[[str], None], *, hands: ThreadPool | None = None) -> Tidied:
        """One portion of retention: ended jobs go with their files, or their records move into the archive.

        Args:
            delete_objects: deletes everything of the job with this id; called after its record was removed.
            hands: threads that share the calls to the object store, which answers slowly.
        """
        over = self._run(upkeep.due(limit=TIDY_LIMIT))
        removed = sum(self._run(upkeep.forget(job_id, settings=self._settings)) for job_id in over)
        unswept = self._run(upkeep.unswept(limit=TIDY_LIMIT))
        try:
            swept = sum(_each(hands, partial(self._sweep, delete_objects), unswept))
        finally:  # a file that can't be deleted keeps no record from moving
            archived = self._archive_old(self._archive, hands) if self._archive else 0
        return Tidied(removed=removed, swept=swept, archived=archived)

    def _archive_old(self, archive: JobArchive, hands: ThreadPool | None) -> int:
        old = self._run(upkeep.archivable(limit=TIDY_LIMIT, settings=self._settings))
        return sum(_each(hands, partial(self._move, archive), old))

    def _sweep(self, delete_objects: Callable[[str], None], job_id: str) -> int:
        delete_objects(job_id)
        return self._run(upkeep.swept(job_id))

    def _move(self, archive: JobArchive, record: Mapping[str, str]) -> int:
        """A record is in both places before it is in one: whenever this stops, nothing is lost."""
        archive.put(record)
        return self._run(upkeep.archive(record["id"]))

    def _run(self, command: Command[T]) -> T:
        script, args = command.script, command.args
        with redis_errors():
            try:
                answer: Any = self._redis.evalsha(script.sha, 0, *args)
            except NoScriptError:  # a fresh or restarted server
                answer = self._redis.eval(script.text, 0, *args)
        return command.parse(answer)


def _each(hands: ThreadPool | None, work: Callable[[S], T], things: Sequence[S]) -> list[T]:
    return hands.map(work, things, chunksize=1) if hands else [work(thing) for thing in things]
