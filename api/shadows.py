"""Shadow runs: a share of an alias's jobs is made a second time, on another model, to see how that one does.

Nobody sees what they make: they belong to no owner, name no webhook, store no image, and run when nothing else waits.
What can't be repeated without its owner's files, and what a person has to look at first, is left alone.
"""

from __future__ import annotations

from dataclasses import replace

from api.services import Services
from darkroom.catalogue import ModelSpec
from darkroom.errors import DarkroomError, InvalidRequest, Transient
from darkroom.job_ids import new_job_id
from darkroom.jobs import Job, JobStatus
from darkroom.logs import get_logger
from darkroom.owners import OwnerSettings
from darkroom.routing import AliasSpec

SHADOW_OWNER = "@shadow"  # fair.lua knows it too; no key is made for such a name
WAIT_SECONDS = 1800  # a shadow run that found no idle worker by then is given up
KEPT_SECONDS = 60
TERMS = OwnerSettings(max_queued=200, max_running=4)
log = get_logger(__name__)


async def follow(job: Job, alias: AliasSpec | None, services: Services) -> Job | None:
    """Submit the shadow run of a job that was just stored, where it is to have one; never fails the job itself."""
    if alias is None or alias.shadow is None or not alias.shadowed(job.id):
        return None
    model = services.catalogue.models.get(alias.shadow.model)
    if model is None or not _repeatable(job, model):
        return None
    shadow = _shadow_of(job, model.name)
    try:
        submitted = await services.jobs.submit(
            shadow, deadline_seconds=WAIT_SECONDS, retention_seconds=KEPT_SECONDS, terms=TERMS
        )
    except (InvalidRequest, Transient) as error:
        _note(services, alias, "skipped", error)
        return None
    _note(services, alias, "submitted")
    return submitted.job


def _repeatable(job: Job, model: ModelSpec) -> bool:
    """A prompt that was allowed, a size that the model makes, and nothing that belongs to one model alone."""
    params = job.params
    tied = params.init_image or params.mask_image or params.adapters or params.refiner
    sides = model.min_side <= min(params.width, params.height) <= max(params.width, params.height) <= model.max_side
    fits = sides and params.width * params.height <= model.max_pixels and "text_to_image" in model.capabilities
    return job.status is JobStatus.QUEUED and job.held is None and not tied and fits


def _shadow_of(job: Job, model: str) -> Job:
    return replace(
        job,
        id=new_job_id(),
        owner=SHADOW_OWNER,
        key=None,
        params=job.params.model_copy(update={"model": model, "preview_every": 0}),
        priority=0,
        webhook=None,
        metadata={},
        warnings=(),
        deadline_at=None,
        price=None,  # nobody owes it
        shadow=True,
    )


def _note(services: Services, alias: AliasSpec, result: str, error: DarkroomError | None = None) -> None:
    services.metrics.shadow_runs.labels(alias.name, result).inc()
    if error is not None:
        log.info("shadow_skipped", alias=alias.name, code=error.code)
