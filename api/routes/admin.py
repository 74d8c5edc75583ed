"""What operators do to single jobs: take images down, place and lift legal holds."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from starlette.concurrency import run_in_threadpool

from api.auth import AdminKey
from api.dependencies import ServicesDep
from api.json_body import AdminBody
from api.openapi import errors
from api.oversight_schemas import HoldBody, HoldList, HoldRequest, TakedownRequest, WithheldBody
from api.schemas import JOB_ID
from darkroom.errors import JobNotFound

router = APIRouter(prefix="/admin", tags=["operation"])
_TAKEDOWN, _HOLD = AdminBody(TakedownRequest), AdminBody(HoldRequest)
JobId = Annotated[str, Path(max_length=64, description="The job's id.", examples=[JOB_ID])]
_WRITE = errors(400, 401, 403, 404, 410, 413, 415, 422, 429, 503)


@router.post("/takedown", summary="Take images down", responses=_WRITE, openapi_extra=_TAKEDOWN.openapi)
async def take_down(
    key: AdminKey, services: ServicesDep, body: Annotated[TakedownRequest, Depends(_TAKEDOWN)]
) -> WithheldBody:
    """They are withheld, their files deleted, their looks barred from being made again. Links stop working at once."""
    takedowns = services.oversight.takedowns
    withheld = await run_in_threadpool(
        takedowns.take_down, body.job_id, person=key.actor, reason=body.reason, images=body.images
    )
    return WithheldBody(job_id=body.job_id, withheld=tuple(withheld))


@router.get("/holds", summary="List legal holds", responses=errors(401, 403, 429, 503))
async def list_holds(_key: AdminKey, services: ServicesDep) -> HoldList:
    """All of them, oldest first."""
    holds = await run_in_threadpool(services.oversight.holds.all)
    return HoldList(holds=tuple(map(HoldBody.from_hold, holds)))


@router.put(
    "/jobs/{job_id}/hold",
    status_code=204,
    summary="Place a legal hold",
    responses=_WRITE,
    openapi_extra=_HOLD.openapi,
)
async def place_hold(
    job_id: JobId, key: AdminKey, services: ServicesDep, body: Annotated[HoldRequest, Depends(_HOLD)]
) -> Response:
    """Nothing of the job is removed while it lasts: not by retention, not at its owner's wish."""
    await run_in_threadpool(services.oversight.holds.place, job_id, person=key.actor, reason=body.reason)
    return Response(status_code=204)


@router.delete(
    "/jobs/{job_id}/hold",
    status_code=204,
    summary="Lift a legal hold",
    responses=errors(401, 403, 404, 409, 422, 429, 503),
)
async def lift_hold(job_id: JobId, key: AdminKey, services: ServicesDep) -> Response:
    """Retention counts again from where it stood. The sealed list's holds are lifted there."""
    if not await run_in_threadpool(services.oversight.holds.lift, job_id, person=key.actor):
        raise JobNotFound
    return Response(status_code=204)
