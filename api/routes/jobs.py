"""Reads, cancels and deletes the caller's own jobs; everybody else's are not found."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.auth import CancelKey, ReadKey
from api.dependencies import HubDep, ServicesDep, SettingsDep
from api.event_hub import EventHub, Listener
from api.headers import preferred_wait
from api.job_views import place_of, retry_after, view_of
from api.openapi import errors
from api.schemas import JOB_ID, JobBody, JobPage, Place
from api.services import Services
from darkroom.errors import JobStoreUnavailable, NotAuthenticated, ObjectStoreUnavailable
from darkroom.jobs import Job, JobStatus
from darkroom.object_store import delete_job_files

router = APIRouter(tags=["jobs"])
# Whoever waits is told by an event; a look now and then finds what the feed of events lost, and callers who left.
LOOK_SECONDS, PRESENCE_SECONDS = 10.0, 0.5
MOST_JOBS = 100
JobId = Annotated[str, Path(description="The id that `POST /generate` gave.", examples=[JOB_ID])]
_FOUND = {
    "description": "The job.",
    "headers": {
        "Retry-After": {"description": "While the job is alive: seconds to wait.", "schema": {"type": "integer"}},
        "Preference-Applied": {"description": "The wait that was granted.", "schema": {"type": "string"}},
    },
}


@router.get("/jobs/{job_id}", summary="Read a job", responses={200: _FOUND, **errors(401, 403, 404, 410, 429, 503)})
async def read_job(
    *,
    job_id: JobId,
    key: ReadKey,
    services: ServicesDep,
    settings: SettingsDep,
    hub: HubDep,
    request: Request,
    response: Response,
    prefer: Annotated[
        str | None, Header(description="`wait=N` answers when the job has ended, after N seconds at the latest.")
    ] = None,
) -> JobBody:
    """The job's status, recipe, progress and images.

    A wait that would be one listener too many is not granted: the answer comes at once, without `Preference-Applied`.
    """
    seconds = preferred_wait(prefer, longest=settings.max_wait_seconds)
    job = await services.jobs.get(job_id, owner=key.owner)
    if seconds is not None and hub.has_room(key.owner):
        if seconds and not job.status.is_terminal:
            job = await _ended(job, services, hub, request, seconds=seconds)
        if not await services.keys.is_alive(key):  # it may have been revoked while its owner waited
            raise NotAuthenticated
        response.headers["Preference-Applied"] = f"wait={seconds}"
    place = await place_of(job, services)
    response.headers.update(retry_after(job, place))
    return await view_of(job, services, place=place)


@router.get("/jobs", summary="List your jobs, newest first", responses=errors(400, 401, 403, 422, 429, 503))
async def list_jobs(
    key: ReadKey,
    services: ServicesDep,
    status: Annotated[JobStatus | None, Query(description="Only jobs that stand there.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_JOBS, description="Jobs on a page.")] = 20,
    cursor: Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")] = None,
) -> JobPage:
    """One page; it may be short, even empty, and still have a next one. Places in the queue are left out.

    Jobs that ended more than a day ago are read from the object store, so a page of them takes longer.
    """
    page = await services.jobs.list_jobs(key.owner, status=status, limit=limit, cursor=cursor)
    views = [await view_of(job, services, place=Place()) for job in page.jobs]
    return JobPage(jobs=tuple(views), next_cursor=page.next_cursor)


@router.post("/jobs/{job_id}/cancel", summary="Cancel a job", responses=errors(401, 403, 404, 409, 410, 429, 503))
async def cancel_job(job_id: JobId, key: CancelKey, services: ServicesDep) -> JobBody:
    """A waiting job is cancelled at once; a running one stops within a step (`cancel_requested` until then)."""
    job = await services.jobs.cancel(job_id, owner=key.owner)
    return await view_of(job, services, place=Place())


@router.delete(
    "/jobs/{job_id}",
    summary="Delete a job and its images",
    status_code=204,
    responses=errors(401, 403, 404, 409, 410, 429, 503),
)
async def delete_job(job_id: JobId, key: CancelKey, services: ServicesDep) -> None:
    """Remove an ended job for good: its record, its images, what came with it. Afterwards it answers 410."""
    await services.jobs.delete(job_id, owner=key.owner)
    with suppress(ObjectStoreUnavailable, JobStoreUnavailable):  # the job is gone already; the reaper does the rest
        await run_in_threadpool(delete_job_files, services.objects, job_id)
        await services.jobs.swept(job_id)


async def _ended(job: Job, services: Services, hub: EventHub, request: Request, *, seconds: float) -> Job:
    """The job when it has ended, when the time is up, or when nobody listens any more."""
    until = time.monotonic() + seconds
    async with hub.listen(job.id, owner=job.owner) as listener:
        while not job.status.is_terminal:
            job = await services.jobs.get(job.id, owner=job.owner)  # what came before we listened
            if not job.status.is_terminal and not await _has_news(listener, request, until=until):
                break
    return job


async def _has_news(listener: Listener, request: Request, *, until: float) -> bool:
    """Wait until a look at the job is worth it; False when the wait is over."""
    next_look = time.monotonic() + LOOK_SECONDS
    while (now := time.monotonic()) < until and not listener.dismissed and not await request.is_disconnected():
        if now >= next_look:
            return True
        with suppress(TimeoutError):
            told = await listener.wait(min(until - now, PRESENCE_SECONDS))
            if told is None or any(event.status.is_terminal for event in told):
                return True
    return False
