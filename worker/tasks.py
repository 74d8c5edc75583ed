"""The Celery task: works one ticket off.

A ticket stands for one job, so it makes at most one claim; tickets that are lost or left over are the reaper's matter.
The number of task threads is therefore the number of jobs in hand. This is the only place that catches everything.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection

from celery.exceptions import Reject

from darkroom.errors import JobStoreUnavailable
from darkroom.job_store import Claim, JobStore
from darkroom.jobs import Tier
from darkroom.logs import get_logger
from engine import Engine
from engine.failures import frames
from worker.drain import Drain
from worker.runner import JobRunner, Outcome

log = get_logger(__name__)

ROOM_POLL_SECONDS = 0.02  # shorter than a step, so that freed rows don't stay idle


class Work:
    """What every task thread of the process shares."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        runner: JobRunner,
        engine: Engine,
        drain: Drain,
        worker: str,
        models: Collection[str],
        lease_seconds: float,
    ) -> None:
        """`worker` names this process in the records; `models` are those it can run."""
        self._jobs = jobs
        self._runner = runner
        self._engine = engine
        self._drain = drain
        self._worker = worker
        self._models = frozenset(models)
        self._lease_seconds = lease_seconds

    def work(self, tier: Tier) -> None:
        """Wait for room, claim one job and carry it to its end.

        Raises:
            Reject: the process is draining, so the ticket goes back for another one.
        """
        self._await_room()
        claim = self._claim(tier)
        if claim is None:
            return
        try:
            outcome = self._runner.run(claim)
        except Exception as error:  # noqa: BLE001 - a bug ends one job, never the thread
            log.error("job_met_a_bug", job_id=claim.job.id, error=type(error).__name__, frames=frames(error))  # noqa: TRY400
            self._runner.fail(claim)
            return
        if outcome is Outcome.HANDED_BACK:
            raise Reject("the worker is draining", requeue=True)

    def _await_room(self) -> None:
        """A job claimed by a full engine would wait here while another worker may be idle."""
        while not self._drain.begun:
            if self._engine.capacity() > 0:
                return
            time.sleep(ROOM_POLL_SECONDS)
        raise Reject("the worker is draining", requeue=True)

    def _claim(self, tier: Tier) -> Claim | None:
        try:
            return self._jobs.claim(
                tier=tier,
                worker=self._worker,
                nonce=secrets.token_hex(8),
                lease_seconds=self._lease_seconds,
                models=self._models,
            )
        except JobStoreUnavailable:
            log.warning("claim_failed", tier=tier.value)  # the ticket is spent; the reaper will issue another
            return None
