"""The review queue over HTTP: look, take, read, decide, escalate. Every reading of an item is logged."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response
from starlette.concurrency import run_in_threadpool

from api.auth import ReviewKey, SealedKey
from api.dependencies import ServicesDep
from api.json_body import ReviewBody
from api.openapi import errors
from api.oversight_schemas import (
    DecidedBody,
    DecisionRequest,
    EscalationRequest,
    ItemBody,
    ItemList,
    ItemSummary,
    SealedBody,
    SealedEntry,
    SealedList,
)
from api.reviewing import decide, escalate, open_image, open_item, take
from api.schemas import JOB_ID
from darkroom.errors import JobNotFound
from darkroom.review import Ruling

router = APIRouter(prefix="/review", tags=["review"])
_DECISION, _ESCALATION = ReviewBody(DecisionRequest), ReviewBody(EscalationRequest)
ItemId = Annotated[str, Path(max_length=64, description="The job's id.", examples=[JOB_ID])]
_READ = errors(401, 403, 404, 409, 422, 429, 503)
_WRITE = errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
_NOTHING: dict[int | str, dict[str, Any]] = {204: {"description": "There is nothing that you could review."}}
_FILE: dict[int | str, dict[str, Any]] = {200: {"description": "The file.", "content": {"image/*": {}}}}
MOST_ITEMS = 200


@router.get("/items", summary="List what waits for review", responses=errors(401, 403, 422, 429, 503))
async def list_items(
    _key: ReviewKey, services: ServicesDep, limit: Annotated[int, Query(ge=1, le=MOST_ITEMS)] = 50
) -> ItemList:
    """The oldest first, without what they show."""
    queue, ttl = services.oversight.queue, services.oversight.rules.review_ttl_seconds
    items = await run_in_threadpool(queue.oldest, limit)
    waiting, _ = await run_in_threadpool(queue.depth)
    return ItemList(items=tuple(ItemSummary.from_item(item, ttl=ttl) for item in items), waiting=waiting)


@router.post(
    "/next", summary="Take the next item", response_model=ItemBody, responses={**_NOTHING, **errors(401, 403, 429, 503)}
)
async def take_next(key: ReviewKey, services: ServicesDep) -> ItemBody | Response:
    """The item that you have in hand, else the oldest that is free: yours alone until its lease ends."""
    item = await take(services, key.actor)
    return Response(status_code=204) if item is None else item


@router.post("/items/{job_id}/lease", summary="Take an item", responses=_READ)
async def take_item(job_id: ItemId, key: ReviewKey, services: ServicesDep) -> ItemBody:
    """This very item, if nobody else has it in hand; taken again it stays yours for longer."""
    item = await take(services, key.actor, job_id)
    if item is None:
        raise JobNotFound
    return item


@router.get("/items/{job_id}", summary="Read an item", responses=_READ)
async def read_item(job_id: ItemId, key: ReviewKey, services: ServicesDep) -> ItemBody:
    """Recipe, scores, policy and history."""
    return await open_item(services, key.actor, job_id)


@router.get(
    "/items/{job_id}/images/{index}",
    summary="Look at a held image",
    response_class=Response,
    responses={**_FILE, **_READ},
)
async def read_image(
    job_id: ItemId, index: Annotated[int, Path(ge=0)], key: ReviewKey, services: ServicesDep
) -> Response:
    """The file itself; there is no link to it."""
    return await open_image(services, key.actor, job_id, index)


@router.post(
    "/items/{job_id}/decide", summary="Decide about an item", responses=_WRITE, openapi_extra=_DECISION.openapi
)
async def decide_item(
    job_id: ItemId, key: ReviewKey, services: ServicesDep, body: Annotated[DecisionRequest, Depends(_DECISION)]
) -> DecidedBody:
    """Every held image is approved or blocked, by whoever has the item in hand."""
    approved = {image.index: image.decision == "approve" for image in body.images}
    ruling = Ruling(approved, code=body.code, note=body.note)
    return DecidedBody(id=job_id, status=await decide(services, key.actor, job_id, ruling, fence=body.fence))


@router.post(
    "/items/{job_id}/escalate",
    status_code=204,
    summary="Leave an item to somebody else",
    responses=_WRITE,
    openapi_extra=_ESCALATION.openapi,
)
async def escalate_item(
    job_id: ItemId, key: ReviewKey, services: ServicesDep, body: Annotated[EscalationRequest, Depends(_ESCALATION)]
) -> Response:
    """It goes back to the queue, for another person."""
    await escalate(services, key.actor, job_id, fence=body.fence, code=body.code, note=body.note)
    return Response(status_code=204)


@router.get("/sealed", summary="List what the rule on minors refused", responses=errors(401, 403, 429, 503))
async def list_sealed(key: SealedKey, services: ServicesDep) -> SealedList:
    """Without texts. These jobs are in no other list, and under a legal hold."""
    await services.oversight.log.append(key.actor, "sealed.listed", "")
    found = await run_in_threadpool(services.oversight.holds.sealed)
    return SealedList(jobs=tuple(SealedEntry(job_id=job_id, at=at) for job_id, at in found))


@router.get("/sealed/{job_id}", summary="Read a sealed case", responses=errors(401, 403, 404, 410, 422, 429, 503))
async def read_sealed(job_id: ItemId, key: SealedKey, services: ServicesDep) -> SealedBody:
    """What was asked for, and by whom."""
    if job_id not in dict(await run_in_threadpool(services.oversight.holds.sealed)):
        raise JobNotFound
    job = await services.jobs.find(job_id)
    await services.oversight.log.append(key.actor, "sealed.read", job_id)
    return SealedBody.from_job(job)


@router.delete(
    "/sealed/{job_id}", status_code=204, summary="Let a sealed case go", responses=errors(401, 403, 404, 422, 429, 503)
)
async def release_sealed(job_id: ItemId, key: SealedKey, services: ServicesDep) -> Response:
    """End its legal hold and take it off the list; it stays refused, and retention counts again."""
    if not await run_in_threadpool(services.oversight.holds.lift, job_id, person=key.actor, sealed=True):
        raise JobNotFound
    return Response(status_code=204)
