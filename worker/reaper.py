"""Tidies the queues every few seconds: takes dead workers' jobs back, expires what is late, tops tickets up.

Any number of reapers may run at once; each worker process has one. What is due, the job store knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from darkroom.job_store import JobStore
from darkroom.jobs import Tier
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.object_store import ObjectStore
from darkroom.tickets import TicketOffice
from worker.images import job_places
from worker.periodic import Periodic

log = get_logger(__name__)


class Reaper(Periodic):
    """One reaping thread."""

    def __init__(
        self,
        store: JobStore,
        office: TicketOffice,
        objects: ObjectStore,
        *,
        tiers: Sequence[Tier],
        seconds: float,
        metrics: Metrics,
    ) -> None:
        """`tiers` are those whose tickets it tops up; jobs are taken back in all of them."""
        super().__init__("reaper", seconds=seconds)
        self._store = store
        self._office = office
        self._objects = objects
        self._tiers = tuple(tiers)
        self._seconds = seconds
        self._metrics = metrics

    def reap(self) -> None:
        """Take back, expire, make ready and forget what is due."""
        reaped = asdict(self._store.reap(delete_objects=self._delete))
        for action, jobs in reaped.items():
            self._metrics.reaper_actions.labels(action).inc(jobs)
        if any(reaped.values()):
            log.info("reaped", **reaped)

    def top_up(self) -> None:
        """See that there are tickets for the jobs that wait."""
        for tier in self._tiers:
            issued = self._office.top_up(tier, self._store.claimable(tier))
            self._metrics.tickets.labels("issued").inc(issued)

    def _delete(self, prefix: str) -> None:
        for place in job_places(prefix.split("/")[1]):
            self._objects.delete_prefix(place)

    def round(self) -> float:
        for step in (self.reap, self.top_up):  # one may fail while the other is needed
            try:
                step()
            except Exception as error:  # noqa: BLE001 - whatever happens, the next round must come
                log.warning("reaper_failed", step=step.__name__, error=type(error).__name__)
        return self._seconds
