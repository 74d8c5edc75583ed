"""The job that a granted appeal makes: the same recipe, for which the findings of the refusal decide nothing.

The grant is stored before this job is, so whoever decides or looks at appeals next makes what is still missing; its id
was drawn with the grant, so it is never made twice.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from starlette.concurrency import run_in_threadpool

from api.services import Services
from darkroom.appeals import Appeal, waived_by
from darkroom.costs import Cost
from darkroom.errors import DarkroomError, JobGone, JobNotFound, ObjectNotFound, Transient
from darkroom.jobs import Job, JobStatus, Progress
from darkroom.logs import get_logger
from darkroom.object_store import ObjectStore, input_key
from darkroom.params import GenerationParams, StoredImage

log = get_logger(__name__)


async def make_missing(services: Services) -> None:
    """Store every job that a granted appeal promised and that is not there yet."""
    oversight = services.oversight
    for job_id in await run_in_threadpool(oversight.appeals.unmade):
        try:
            job = await services.jobs.find(job_id)
            await make(services, job, await run_in_threadpool(oversight.appeals.get, job_id))
        except (JobGone, JobNotFound):  # its owner deleted it meanwhile
            await run_in_threadpool(oversight.appeals.made, job_id)
        except DarkroomError as error:
            log.warning("appeal_not_carried_out", job_id=job_id, code=error.code)


async def make(services: Services, job: Job, appeal: Appeal) -> None:
    """Store the successor; the same one again changes nothing. The owner's caps don't stand against it."""
    assert appeal.new_job is not None, "only a granted appeal has one"
    params = await run_in_threadpool(_with_inputs, services.objects, job.params, appeal.new_job)
    successor = replace(
        job,
        id=appeal.new_job,
        status=JobStatus.QUEUED,
        params=params,
        attempt=0,
        started_at=None,
        finished_at=None,
        deadline_at=None,
        progress=Progress(),
        images=(),
        error=None,
        held=None,
        cancel_requested=False,
        findings=(),
        review=(),
        withheld=(),
        appeal_of=job.id,
        cost=Cost(),
        waived=waived_by(job),
    )
    terms = services.owners.of(job.owner).model_copy(update={"max_queued": None, "cost_per_minute": None})
    await services.jobs.submit(successor, terms=terms)
    await run_in_threadpool(services.oversight.appeals.made, job.id)
    with suppress(Transient):  # the reaper will issue it
        await run_in_threadpool(services.tickets.issue, successor.tier)


def _with_inputs(objects: ObjectStore, params: GenerationParams, job_id: str) -> GenerationParams:
    """The recipe with its input images in a place of the new job; those that were not kept stay missing."""

    def moved(image: StoredImage, name: str) -> StoredImage:
        key = input_key(job_id, name)
        with suppress(ObjectNotFound):
            objects.put(key, objects.get(image.key), "image/png")
            return image.model_copy(update={"key": key})
        return image

    changes = {
        field: moved(image, name)
        for field, name, image in (("init_image", "init", params.init_image), ("mask_image", "mask", params.mask_image))
        if image is not None
    }
    return params.model_copy(update=changes)
