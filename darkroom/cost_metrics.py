"""Counts device time and its price as metrics; the ledger in the job store is what bills are written from."""

from __future__ import annotations

from darkroom.costs import MICRO, Price
from darkroom.jobs import Job, JobStatus
from darkroom.metrics import Metrics
from darkroom.owner_labels import OwnerLabels


class CostMetrics:
    """The metrics of one process."""

    def __init__(self, metrics: Metrics, owner_labels: OwnerLabels) -> None:
        self._metrics = metrics
        self._owner_labels = owner_labels

    def note_attempt(self, job: Job, *, device_us: int, outcome: str) -> None:
        """An attempt ended. `outcome` is a status, `released` or `lost`."""
        seconds = device_us / MICRO
        self._metrics.device_seconds.labels(job.params.model, outcome).inc(seconds)
        if job.price is not None:
            self._count(job, "spent", job.price, seconds)
            if outcome == JobStatus.SUCCEEDED and not job.shadow:
                self._count(job, "billed", job.price, seconds)

    def note_release(self, job: Job) -> None:
        """A person released images that had waited, and so the job is billed."""
        if job.price is not None:
            self._count(job, "billed", job.price, job.cost.billed_us / MICRO)

    def _count(self, job: Job, kind: str, price: Price, seconds: float) -> None:
        self._metrics.cost.labels(self._owner_labels.of(job.owner), kind, price.currency).inc(price.of(seconds))
