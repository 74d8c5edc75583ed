"""`GET /jobs/{id}/events`: what happens to a job, as it happens."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Response

from api.auth import ReadKey
from api.dependencies import HubDep, ServicesDep
from api.event_stream import EventStream, follow
from api.openapi import errors
from api.routes.jobs import JobId
from darkroom.events import BEGINNING, is_place, order, story
from darkroom.jobs import Job

router = APIRouter(tags=["jobs"])
_STREAM = {
    "description": "Server-sent events, until the job has ended.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_NOTHING_MORE = {"description": "The job has ended, and `Last-Event-ID` was its last event."}


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    status_code=200,
    response_class=EventStream,
    responses={200: _STREAM, 204: _NOTHING_MORE, **errors(401, 403, 404, 410, 429, 503)},
)
async def follow_job(
    *,
    job_id: JobId,
    key: ReadKey,
    services: ServicesDep,
    hub: HubDep,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Go on after this event; left out: from the beginning.")
    ] = None,
) -> Response:
    """Every change of the job as an event, from the beginning to the end.

    `queued`, `started`, `progress`, `requeued`, `in_review`, and the status that it ended with. Where previews were
    asked for and are allowed, `preview` in between.
    """

    async def read_job() -> Job:
        return await services.jobs.get(job_id, owner=key.owner)

    after = last_event_id if last_event_id is not None and is_place(last_event_id) else BEGINNING
    job = await read_job()
    if job.status.is_terminal:
        end = story(job, await hub.log.of_job(job_id))[-1]
        if order(after) >= order(end.place):
            return Response(status_code=204)
    hub.require_room(key.owner)
    events = follow(read_job, hub, job_id, owner=key.owner, after=after)
    return EventStream(events, until=partial(services.keys.until_dead, key))
