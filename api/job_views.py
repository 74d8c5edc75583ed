"""Makes the body of a job for its owner: the record, its place in the queue, fresh links to its images.

Links are signed when the job is read, never stored, so each reading starts their time anew.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from api.schemas import JobBody, Link, Place, job_body
from api.services import Services
from darkroom.clock import unix_time
from darkroom.errors import JobStoreUnavailable
from darkroom.jobs import ImageRecord, Job, JobStatus
from darkroom.object_store import ObjectStore

SOONEST, LATEST = 1, 30  # seconds to suggest before the next poll


async def place_of(job: Job, services: Services) -> Place:
    """Where the job stands; nowhere when it does not wait, or when nobody can say."""
    if job.status is not JobStatus.QUEUED:
        return Place()
    try:
        state = await services.jobs.queue_state(job.id)
    except JobStoreUnavailable:
        return Place()  # an estimate is not worth failing an answer that is already known
    return Place(state.position, state.eta_seconds) if state else Place()


async def view_of(job: Job, services: Services, *, place: Place) -> JobBody:
    """The job as its owner sees it."""
    if not job.images:
        return job_body(job, place=place, link=_no_link)
    return await run_in_threadpool(job_body, job, place=place, link=_linker(services.objects, services.url_ttl_seconds))


def retry_after(job: Job, place: Place) -> dict[str, str]:
    """The Retry-After header of a job that is still alive: when its images may be there, within reason."""
    if job.status.is_terminal:
        return {}
    seconds = round(place.eta_seconds) if place.eta_seconds is not None else SOONEST
    return {"Retry-After": str(min(max(seconds, SOONEST), LATEST))}


def _linker(objects: ObjectStore, lifetime: int) -> Callable[[Job, ImageRecord], Link]:
    def link(job: Job, image: ImageRecord) -> Link:
        ending = image.key.rpartition(".")[2]
        url = objects.url(image.key, expires_in=lifetime, filename=f"{job.id}-{image.index}.{ending}")
        return Link(url=url, expires_at=int(unix_time()) + lifetime)

    return link


def _no_link(_job: Job, _image: ImageRecord) -> Link:
    raise AssertionError("there is no image to link to")
