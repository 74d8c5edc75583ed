"""What logs, metrics and traces tell of an attempt: its claim, its first step, how long it ran, how it ended.

Decides nothing, and keeps nothing between two calls.
"""

from __future__ import annotations

from darkroom.cost_metrics import CostMetrics
from darkroom.job_record import megapixel_steps
from darkroom.job_store import Claim
from darkroom.jobs import Job, JobStatus
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.owner_labels import OwnerLabels
from darkroom.routing import alias_of
from darkroom.tracing import Moment, Step, describe, past_span
from worker.device_time import DeviceTime
from worker.progress import ProgressNotes

log = get_logger(__name__)


class AttemptNotes:
    """The notes of one process's attempts."""

    def __init__(self, metrics: Metrics, owner_labels: OwnerLabels, device_time: DeviceTime) -> None:
        self._metrics = metrics
        self._owner_labels = owner_labels
        self._device_time = device_time
        self._costs = CostMetrics(metrics, owner_labels)

    def claimed(self, claim: Claim) -> None:
        """The attempt begins; its job has waited until now."""
        job = claim.job
        log.info("job_claimed", attempt=claim.attempt, tier=job.tier.value, model=job.params.model)
        if job.started_at is not None:
            past_span(
                Step.WAIT, Moment(job.created_at, job.started_at), job=job.id, attempt=claim.attempt, tier=job.tier
            )
        if claim.attempt > 1:
            self._metrics.reexecutions.labels(job.tier).inc()
        elif job.started_at is not None:
            self._metrics.queue_wait.labels(job.tier).observe(job.started_at - job.created_at)

    def first_step(self, claim: Claim, notes: ProgressNotes, began: float) -> None:
        """How long the caller waited for work to begin; a job that began before has been counted."""
        job = claim.job
        if claim.attempt == 1 and job.started_at is not None and notes.first_at is not None:
            waited = job.started_at - job.created_at
            self._metrics.first_step.labels(job.tier).observe(waited + notes.first_at - began)

    def ran(self, claim: Claim, seconds: float) -> None:
        """The job took so long, from claim to commit."""
        job, model = claim.job, claim.job.params.model
        if job.route is not None:
            self._metrics.route_time.labels(alias_of(job.route), model, _part(job)).observe(seconds)
        if not job.shadow:
            self._metrics.run_time.labels(job.tier, model).observe(seconds)

    def ended(self, claim: Claim, outcome: str, *, images: int = 0, code: str | None = None) -> None:
        """The attempt is over. `outcome` is a status, `released` or `lost`."""
        job, model = claim.job, claim.job.params.model
        log.info("attempt_ended", attempt=claim.attempt, outcome=outcome, images=images, code=code)
        describe(outcome=outcome)
        self._metrics.attempts.labels(outcome, job.tier).inc()
        self._metrics.images.labels(model, job.params.output_format).inc(images)
        owner, work = self._owner_labels.of(job.owner), megapixel_steps(job.params, images=images)
        self._metrics.megapixel_steps.labels(model).inc(work)
        self._metrics.owner_images.labels(owner).inc(images)
        self._metrics.owner_work.labels(owner).inc(work)
        self._costs.note_attempt(job, device_us=self._device_time.of(claim), outcome=outcome)
        if outcome in set(JobStatus) and JobStatus(outcome).is_terminal:
            if job.route is not None:
                self._metrics.route_jobs.labels(alias_of(job.route), model, _part(job), outcome).inc()
            if job.shadow:
                return
            self._metrics.jobs_ended.labels(outcome, job.tier, model).inc()
            self._metrics.owner_jobs.labels(owner, outcome).inc()


def _part(job: Job) -> str:
    return "shadow" if job.shadow else "live"
