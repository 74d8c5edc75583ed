"""`POST /generate`: a prompt comes in, with images where there are any; a job goes out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse

from api.auth import GenerateKey
from api.cost_schemas import QuoteBody
from api.dependencies import ServicesDep, SettingsDep, SubmissionDep
from api.headers import idempotency_key
from api.job_views import place_of, retry_after
from api.openapi import GENERATION_BODY, errors
from api.schemas import SubmittedBody
from api.uploads import Upload, read_upload
from darkroom.tracing import Step, describe, span

router = APIRouter(tags=["jobs"])
_ACCEPTED = {
    "description": "The job is stored. `blocked` means that safety refused the prompt.",
    "headers": {
        "Location": {"description": "The job.", "schema": {"type": "string"}},
        "Retry-After": {"description": "Seconds until a look is worth it.", "schema": {"type": "integer"}},
        "Idempotency-Replayed": {"description": "`true` when an earlier call had made the job.",
                                 "schema": {"type": "string"}},
    },
}  # fmt: skip

_QUOTED = {"description": "What the job would take, where `dry_run` asks for no more.", "model": QuoteBody}


async def _upload(request: Request, key: GenerateKey, settings: SettingsDep, services: ServicesDep) -> Upload:
    """The body; it depends on the key so that bodies of strangers, and of keys that have to wait, are never read."""
    await services.near_misses.require_free(key.id)
    return await read_upload(request, settings)


@router.post(
    "/generate",
    status_code=202,
    response_model=SubmittedBody,
    summary="Make images from a prompt",
    responses={200: _QUOTED, 202: _ACCEPTED, **errors(400, 401, 403, 413, 415, 422, 429, 503)},
    openapi_extra=GENERATION_BODY,
)
async def generate(
    *,
    key: GenerateKey,
    upload: Annotated[Upload, Depends(_upload)],
    services: ServicesDep,
    submission: SubmissionDep,
    response: Response,
    idempotency: Annotated[
        str | None, Header(alias="Idempotency-Key", description="The same key finds the same job for 24 hours.")
    ] = None,
) -> SubmittedBody | Response:
    """Store a job and answer at once; the images come later, under the job's `links.self`."""
    if upload.request.dry_run:
        quote = await submission.quote(upload, key=key)
        return JSONResponse(quote.model_dump(mode="json"))
    with span(Step.SUBMIT):
        submitted = await submission.submit(upload, key=key, idempotency_key=idempotency_key(idempotency))
        job = submitted.job
        describe(job=job.id, tier=job.tier, model=job.params.model, outcome=job.status)
    place = await place_of(job, services)
    response.headers["Location"] = f"/jobs/{job.id}"
    response.headers.update(retry_after(job, place))
    if submitted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return SubmittedBody.from_job(job, place=place)
