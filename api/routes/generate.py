"""`POST /generate`: a prompt comes in, a job goes out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Header, Request, Response

from api.auth import GenerateKey
from api.dependencies import ServicesDep, SettingsDep, SubmissionDep
from api.headers import idempotency_key
from api.job_views import place_of, retry_after
from api.openapi import GENERATION_BODY, errors
from api.schemas import SubmittedBody
from api.strict_json import read_json
from api.validation import validated
from darkroom.jobs import JobStatus
from darkroom.params import GenerationRequest

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


async def _generation_request(request: Request, _key: GenerateKey, settings: SettingsDep) -> GenerationRequest:
    """The body; it depends on the key so that strangers' bodies are never read."""
    return validated(GenerationRequest, await read_json(request, max_depth=settings.max_json_depth))


@router.post(
    "/generate",
    status_code=202,
    summary="Make images from a prompt",
    responses={202: _ACCEPTED, **errors(400, 401, 403, 413, 415, 422, 503)},
    openapi_extra=GENERATION_BODY,
)
async def generate(
    *,
    key: GenerateKey,
    body: Annotated[GenerationRequest, Depends(_generation_request)],
    services: ServicesDep,
    submission: SubmissionDep,
    background: BackgroundTasks,
    response: Response,
    idempotency: Annotated[
        str | None, Header(alias="Idempotency-Key", description="The same key finds the same job for 24 hours.")
    ] = None,
) -> SubmittedBody:
    """Store a job and answer at once; the images come later, under the job's `links.self`."""
    submitted = await submission.submit(body, owner=key.owner, idempotency_key=idempotency_key(idempotency))
    job = submitted.job
    if job.status is JobStatus.QUEUED and not submitted.replayed:
        background.add_task(submission.issue_ticket, job)
    place = await place_of(job, services)
    response.headers["Location"] = f"/jobs/{job.id}"
    response.headers.update(retry_after(job, place))
    if submitted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return SubmittedBody.from_job(job, place=place)
