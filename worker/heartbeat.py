"""Proves to the job store that this process's jobs are alive, and hears which are not wanted any more.

One daemon thread renews every lease of the process in one call and retries for ever: a thread that gave up would let
the process work on without leases. It does not stop at SIGTERM, because draining jobs need their leases too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from darkroom.job_store import Claim, JobStore, Lease
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from worker.periodic import Periodic

log = get_logger(__name__)

RETRY_SECONDS = 0.5  # after a beat that did not get through


@dataclass(eq=False)
class Watch:
    """One claim in the heartbeat's care. The heartbeat sets `lease`, the job's own thread reads it."""

    claim: Claim
    lease: Lease = Lease.KEPT


class Heartbeat(Periodic):
    """The leases of one process. It is stopped only where no job is left."""

    def __init__(self, store: JobStore, *, seconds: float, metrics: Metrics) -> None:
        super().__init__("heartbeat", seconds=seconds)
        self._store = store
        self._seconds = seconds
        self._metrics = metrics
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}  # by job id

    @contextmanager
    def watch(self, claim: Claim) -> Iterator[Watch]:
        """Keep the claim's lease for the length of the block."""
        watch = Watch(claim)
        with self._lock:
            self._watches[claim.job.id] = watch
        try:
            yield watch
        finally:
            with self._lock:
                if self._watches.get(claim.job.id) is watch:
                    del self._watches[claim.job.id]

    def claims(self) -> list[Claim]:
        """What is in the heartbeat's care now."""
        with self._lock:
            return [watch.claim for watch in self._watches.values()]

    def beat(self) -> None:
        """Renew all leases once and pass on what the store says of each."""
        with self._lock:
            watches = dict(self._watches)
        if not watches:
            return
        leases = self._store.renew([watch.claim for watch in watches.values()])
        for job_id, lease in leases.items():
            if lease is not Lease.KEPT:
                watches[job_id].lease = lease

    def round(self) -> float:
        return self._seconds if self._try_to_beat() else min(RETRY_SECONDS, self._seconds)

    def _try_to_beat(self) -> bool:
        try:
            self.beat()
        except Exception as error:  # noqa: BLE001 - whatever happens, the next beat must come
            self._metrics.heartbeat_failures.inc()
            log.warning("heartbeat_failed", error=type(error).__name__)
            return False
        return True
