"""Tidies the queues every few seconds: takes dead workers' jobs back, expires what is late, tops tickets up.

Any number of reapers may run at once; each worker process has one. What is due, the job store knows. Leases get a grace
after the start, an outage of the store or a standstill of this process, for live workers may have been unable to renew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from darkroom.audit_segments import AuditSegments
from darkroom.errors import JobStoreUnavailable
from darkroom.job_store import JobStore
from darkroom.jobs import Tier
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.tickets import TicketOffice
from worker.orphans import Orphans
from worker.periodic import Periodic

log = get_logger(__name__)


class Reaper(Periodic):
    """One reaping thread."""

    def __init__(
        self,
        store: JobStore,
        office: TicketOffice,
        *,
        tiers: Sequence[Tier],
        seconds: float,
        grace_seconds: float,
        metrics: Metrics,
        orphans: Orphans | None = None,
        audit: AuditSegments | None = None,
        review: Callable[[], int] | None = None,
    ) -> None:
        """Take what there is to tidy.

        Args:
            tiers: those whose tickets it tops up; jobs are taken back in all of them.
            grace_seconds: in which every live worker renews its leases.
            orphans: sweeps the object store, where that is this reaper's task too.
            audit: moves the audit log's older part into the object store, likewise.
            review: denies what nobody reviewed in time, and says how many items that were.
        """
        super().__init__("reaper", seconds=seconds)
        self._store = store
        self._office = office
        self._tiers = tuple(tiers)
        self._seconds = seconds
        self._grace_seconds = grace_seconds
        self._metrics = metrics
        self._orphans = orphans
        self._audit = audit
        self._review = review
        self._rested_at = time.monotonic()  # when the last round ended
        self._leases_at = self._rested_at + grace_seconds

    def reap(self) -> None:
        """Take back, expire and make ready what is due."""
        try:
            reaped = asdict(self._store.reap(leases=self._leases_may_end()))
        except JobStoreUnavailable:
            self._give_grace()
            raise
        for action, jobs in reaped.items():
            self._metrics.reaper_actions.labels(action).inc(jobs)
        if any(reaped.values()):
            log.info("reaped", **reaped)

    def top_up(self) -> None:
        """See that there are tickets for the jobs that wait."""
        for tier in self._tiers:
            issued = self._office.top_up(tier, self._store.claimable(tier))
            self._metrics.tickets.labels("replaced").inc(issued)

    def sweep(self) -> None:
        """Delete files that no record names, a page now and then."""
        if self._orphans is not None:
            self._metrics.orphans_deleted.inc(self._orphans.sweep_when_due())

    def expire_reviews(self) -> None:
        """Deny what nobody reviewed in time."""
        if self._review is not None and (expired := self._review()):
            self._metrics.review_expired.inc(expired)
            log.info("reviews_expired", items=expired)

    def seal(self) -> None:
        """Write the audit log's entries of the last hour into the object store, once an hour."""
        if self._audit is not None and (entries := self._audit.seal()):
            log.info("audit_sealed", entries=entries)

    def _leases_may_end(self) -> bool:
        if time.monotonic() - self._rested_at > self._seconds + self._grace_seconds:  # this process stood still
            self._give_grace()
        return time.monotonic() >= self._leases_at

    def _give_grace(self) -> None:
        self._leases_at = time.monotonic() + self._grace_seconds

    def round(self) -> float:
        for step in (
            self.reap,
            self.top_up,
            self.sweep,
            self.expire_reviews,
            self.seal,
        ):  # one may fail while another is needed
            try:
                step()
            except Exception as error:  # noqa: BLE001 - whatever happens, the next round must come
                log.warning("reaper_failed", step=step.__name__, error=type(error).__name__)
        self._rested_at = time.monotonic()
        return self._seconds
