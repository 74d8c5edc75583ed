"""The Celery task: works one ticket off.

A ticket stands for one job, so it makes at most one claim; tickets that are lost or left over are the reaper's matter.
The number of task threads is therefore the number of jobs in hand. A thread that is asked to hold waits until there are
none, so that a suspect gets the process for itself. This is the only place that catches everything.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection

from celery.exceptions import Reject

from darkroom.clock import unix_time
from darkroom.errors import ClaimHeld, JobStoreUnavailable
from darkroom.job_store import Claim, JobStore
from darkroom.jobs import Tier
from darkroom.logs import get_logger
from darkroom.tracing import Moment, Step, continued, past_span
from engine import Engine
from engine.failures import frames
from worker.drain import Drain
from worker.hands import Hands
from worker.runner import JobRunner, Outcome

log = get_logger(__name__)

ROOM_POLL_SECONDS = 0.02  # shorter than a step, so that freed rows don't stay idle
STORE_RETRY_SECONDS = 0.5
HOLD_SECONDS = 1.0  # between two claims of a thread that holds; the store forgets a drain after ten


class Work:
    """What every task thread of the process shares."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        runner: JobRunner,
        engine: Engine,
        drain: Drain,
        hands: Hands,
        worker: str,
        models: Collection[str],
        lease_seconds: float,
    ) -> None:
        """`worker` names this process in the records; `models` are those it can run."""
        self._jobs = jobs
        self._runner = runner
        self._engine = engine
        self._drain = drain
        self._hands = hands
        self._worker = worker
        self._models = frozenset(models)
        self._lease_seconds = lease_seconds
        self._shapes: list[str] = []  # of the jobs in hand; appended to and removed from by whole operations

    def work(self, tier: Tier) -> None:
        """Wait for room, claim one job and carry it to its end.

        Raises:
            Reject: the process is draining, so the ticket goes back for another one.
        """
        with self._hands.ticket():
            self._await_room()
            began = unix_time()
            claim = self._claim(tier)
            if claim is not None:
                _tell_claim(claim, Moment(began, unix_time()))
                if self._carry(claim) is Outcome.HANDED_BACK:
                    raise Reject("the worker is draining", requeue=True)

    def help(self, tier: Tier, *, is_unwelcome: Callable[[], bool]) -> Outcome | None:
        """Carry one job of a tier that this process gets no tickets of; None where there is none to take.

        Suspects are left to their own pool. The job goes back to the queue once `is_unwelcome` says so.
        """
        try:
            claim = self._claim(tier, suspects=False)
        except Reject:
            return None
        if claim is None:
            return None
        log.info("job_helped", job_id=claim.job.id, tier=tier.value)
        return self._carry(claim, is_unwelcome)

    def serve(self, models: Collection[str]) -> None:
        """Claim jobs of these models from now on, and of no others."""
        self._models = frozenset(models)

    def _carry(self, claim: Claim, is_unwelcome: Callable[[], bool] = lambda: False) -> Outcome:
        params = claim.job.params
        shape = f"{params.model}@{params.width}x{params.height}"
        self._shapes.append(shape)
        try:
            with self._hands.job(alone=claim.alone):
                return self._runner.run(claim, is_unwelcome=is_unwelcome)
        except Exception as error:  # noqa: BLE001 - a bug ends one job, never the thread
            log.error("job_met_a_bug", job_id=claim.job.id, error=type(error).__name__, frames=frames(error))  # noqa: TRY400
            self._runner.fail(claim)
            return Outcome.ENDED
        finally:
            self._shapes.remove(shape)

    def _await_room(self) -> None:
        """A job claimed by a full engine would wait here while another worker may be idle."""
        while not self._drain.begun:
            if self._engine.capacity() > 0:
                return
            time.sleep(ROOM_POLL_SECONDS)
        raise Reject("the worker is draining", requeue=True)

    def _claim(self, tier: Tier, *, suspects: bool = True) -> Claim | None:
        """Insist with one nonce: a call whose reply was lost may have taken a job, which must not be left lying."""
        nonce = secrets.token_hex(8)
        while not self._drain.begun:
            emptied = self._hands.emptied
            try:
                return self._jobs.claim(
                    tier=tier,
                    worker=self._worker,
                    nonce=nonce,
                    lease_seconds=self._lease_seconds,
                    models=self._models,
                    suspects_last=self._hands.resting,
                    suspects=suspects,
                    warm={*self._engine.stats().models, *self._shapes},
                )
            except ClaimHeld:
                if not suspects:
                    return None
                self._hands.await_empty(since=emptied, seconds=HOLD_SECONDS)
            except JobStoreUnavailable:
                log.warning("claim_failed", tier=tier.value)
                time.sleep(STORE_RETRY_SECONDS)
        raise Reject("the worker is draining", requeue=True)


def _tell_claim(claim: Claim, moment: Moment) -> None:
    """A span, now that it is known whose trace it belongs to."""
    with continued(claim.job.traceparent):
        past_span(Step.CLAIM, moment, job=claim.job.id, attempt=claim.attempt, tier=claim.job.tier)
