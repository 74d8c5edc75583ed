"""Changes that the harness makes inside processes of the service: to die or freeze at a chosen moment, or to lose a
part of the safety net.

Each is installed in a process before it starts (`hooks` of a fleet's plan), so the code in the tree stays as it is. The
last part removes what keeps jobs safe, one piece at a time: a proof whose checks still hold then proves nothing.
"""

from __future__ import annotations

import os
import random
import signal
from typing import Any

from darkroom import lua_scripts
from darkroom.async_job_store import AsyncJobStore
from darkroom.job_commands import callers
from darkroom.job_store import IdempotencyKey, JobStore
from darkroom.jobs import JobStatus

POISON = "a poisoned well"  # the prompt of a job that kills the process that runs it


def die_of_poison() -> None:
    """A worker that claims a job with the poisoned prompt dies a moment later, with everything it has in hand."""
    from worker.runner import JobRunner  # noqa: PLC0415 - loads torch, which the API's processes must not

    run = JobRunner.run

    def fatal_run(self: JobRunner, claim: Any, **options: Any) -> Any:
        if claim.job.params.prompt == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        return run(self, claim, **options)

    JobRunner.run = fatal_run  # type: ignore[method-assign]


def freeze_before_commit() -> None:
    """The process stands still right before each commit of a result, until somebody sends SIGCONT."""
    commit = JobStore.commit

    def late_commit(self: JobStore, claim: Any, **options: Any) -> Any:
        if options["status"] is JobStatus.SUCCEEDED:
            os.kill(os.getpid(), signal.SIGSTOP)
        return commit(self, claim, **options)

    JobStore.commit = late_commit  # type: ignore[method-assign]


def die_round_submit() -> None:
    """An API process dies with its first new job: before the record, after it, or with the reply under way."""
    submit = AsyncJobStore.submit
    moment = random.choice(("before", "after", "after", "reply"))

    async def fatal_submit(self: AsyncJobStore, job: Any, **options: Any) -> Any:
        if moment == "before" and not await _is_known(self, job, options["idempotency"]):
            os.kill(os.getpid(), signal.SIGKILL)
        submitted = await submit(self, job, **options)
        if not submitted.replayed:
            if moment == "reply":
                _die_soon()
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return submitted

    AsyncJobStore.submit = fatal_submit  # type: ignore[method-assign]


def without_fence() -> None:
    """Any attempt may commit, whoever holds the job now, and whatever has become of it."""
    _edit("record", "tonumber(job.attempt) == tonumber(attempt)", "true")
    _edit("record", "job ~= nil and job.status == 'running' and", "job ~= nil and")
    _allow_every_transition()


def without_lease() -> None:
    """A claim holds for ever, so a dead worker keeps its jobs."""
    _edit("claim", "lease_until = stamp(now + lease)", "lease_until = stamp(now + 1e9)")
    _edit("renew", "stamp(now + tonumber(job.lease_seconds))", "stamp(now + 1e9)")


def without_reaper() -> None:
    """Nobody takes back, tops up, expires or sweeps."""
    from worker.reaper import Reaper  # noqa: PLC0415 - beside torch

    Reaper.round = lambda _self: 3600.0  # type: ignore[method-assign, assignment]


def without_commit_check() -> None:
    """A result is taken although the caller was told that the job is cancelled."""
    _edit("commit", "if job.cancel_requested == '1' and to ~= 'cancelled' then", "if false then")

    from darkroom.job_store import Lease  # noqa: PLC0415

    renew = JobStore.renew

    def blind_renew(self: JobStore, claims: Any) -> Any:
        return dict.fromkeys(renew(self, claims), Lease.KEPT)

    JobStore.renew = blind_renew  # type: ignore[method-assign]


def _edit(name: str, old: str, new: str) -> None:
    """Replace a piece of one script's text in this process."""
    read = lua_scripts._read  # noqa: SLF001

    def edited(wanted: str) -> str:
        text = read(wanted)
        if wanted != name:
            return text
        assert old in text, f"{name}.lua no longer has what this sabotage replaces"
        return text.replace(old, new)

    lua_scripts._read = edited  # type: ignore[assignment]  # noqa: SLF001
    lua_scripts.load_script.cache_clear()


def _allow_every_transition() -> None:
    _edit("record", "assert(LEGAL[job.status] and LEGAL[job.status][to],", "assert(true,")


async def _is_known(store: AsyncJobStore, job: Any, key: IdempotencyKey | None) -> bool:
    """Whether this key has its job already."""
    name = callers._idempotency_name(job.owner, key) if key else ""  # noqa: SLF001 - one name for both
    return key is not None and bool(await store._redis.exists(name))  # noqa: SLF001


def _die_soon() -> None:
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0005, 0.01))
