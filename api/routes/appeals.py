"""Appeals: an owner's against a refusal, and what reviewers decide about them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.concurrency import run_in_threadpool

from api.auth import ReadKey, ReviewKey
from api.dependencies import ServicesDep
from api.json_body import ReadBody, ReviewBody
from api.openapi import errors
from api.oversight_schemas import AppealBody, AppealDecisionRequest, AppealItem, AppealList, AppealRequest
from api.schemas import JOB_ID
from api.services import Services
from api.successors import make, make_missing
from darkroom.appeals import Decision, is_final
from darkroom.errors import JobNotFound
from darkroom.keys import ApiKey, Scope

router = APIRouter(tags=["review"])
_APPEAL, _DECISION = ReadBody(AppealRequest), ReviewBody(AppealDecisionRequest)
JobId = Annotated[str, Path(max_length=64, description="The refused job.", examples=[JOB_ID])]
_READ = errors(401, 403, 404, 410, 422, 429, 503)
_WRITE = errors(400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 503)
MOST_APPEALS = 200


@router.post(
    "/jobs/{job_id}/appeal",
    status_code=202,
    summary="Appeal against a refusal",
    responses=_WRITE,
    openapi_extra=_APPEAL.openapi,
)
async def file_appeal(
    job_id: JobId, key: ReadKey, services: ServicesDep, body: Annotated[AppealRequest, Depends(_APPEAL)]
) -> AppealBody:
    """A person decides, somebody else than who refused. One appeal a job: a second one finds the first."""
    job = await services.jobs.get(job_id, owner=key.owner)
    return AppealBody.from_appeal(await run_in_threadpool(services.oversight.appeals.file, job, body.text))


@router.get("/jobs/{job_id}/appeal", summary="Read your appeal", responses=_READ)
async def read_appeal(job_id: JobId, key: ReadKey, services: ServicesDep) -> AppealBody:
    """Where it stands, and the answer."""
    await services.jobs.get(job_id, owner=key.owner)
    return AppealBody.from_appeal(await run_in_threadpool(services.oversight.appeals.get, job_id))


@router.get("/review/appeals", summary="List appeals that wait", responses=errors(401, 403, 422, 429, 503))
async def list_appeals(
    key: ReviewKey, services: ServicesDep, limit: Annotated[int, Query(ge=1, le=MOST_APPEALS)] = 50
) -> AppealList:
    """The oldest first, without their texts."""
    await make_missing(services)
    appeals = services.oversight.appeals
    found = await run_in_threadpool(appeals.open, limit, sealed=Scope.SEALED in key.scopes)
    waiting = await run_in_threadpool(appeals.depth)
    return AppealList(appeals=tuple(map(AppealBody.from_appeal, found)), waiting=waiting)


@router.get("/review/appeals/{job_id}", summary="Read an appeal", responses=_READ)
async def open_appeal(job_id: JobId, key: ReviewKey, services: ServicesDep) -> AppealItem:
    """Its text, and what was refused on which scores."""
    appeal = await run_in_threadpool(services.oversight.appeals.get, job_id)
    job = await services.jobs.find(job_id)
    require_may_see(key, final=is_final(job))
    await services.oversight.log.append(key.actor, "appeal.read", job_id)
    return AppealItem.from_parts(appeal, job)


@router.post(
    "/review/appeals/{job_id}/decide", summary="Decide an appeal", responses=_WRITE, openapi_extra=_DECISION.openapi
)
async def decide_appeal(
    job_id: JobId,
    key: ReviewKey,
    services: ServicesDep,
    body: Annotated[AppealDecisionRequest, Depends(_DECISION)],
) -> AppealItem:
    """A grant makes a new job. What a check refused takes a second person to grant: until then it is still open."""
    return await carry_out(services, key, job_id, body.decision, answer=body.answer)


async def carry_out(services: Services, key: ApiKey, job_id: str, decision: Decision, *, answer: str) -> AppealItem:
    """Decide, and make the job that a grant promises."""
    oversight = services.oversight
    before = await run_in_threadpool(oversight.appeals.get, job_id)
    job = await services.jobs.find(job_id)
    require_may_see(key, final=is_final(job))
    appeal = await run_in_threadpool(oversight.appeals.decide, job, decision, person=key.actor, answer=answer)
    if appeal.state != "open" and before.state == "open":
        services.metrics.appeals_decided.labels(appeal.state).inc()
    if appeal.new_job:
        await make(services, job, appeal)
    return AppealItem.from_parts(appeal, job)


def require_may_see(key: ApiKey, *, final: bool) -> None:
    """What the rule on minors refused is shown to its named role alone."""
    if final and Scope.SEALED not in key.scopes:
        raise JobNotFound
