"""What an owner thinks of a job's images: one rating a job, which may be changed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from api.auth import ReadKey
from api.dependencies import ServicesDep
from api.json_body import ReadBody
from api.openapi import errors
from api.rating_schemas import RatingBody, RatingRequest
from api.schemas import JOB_ID
from darkroom.routing import alias_of

router = APIRouter(tags=["jobs"])
_RATING = ReadBody(RatingRequest)
JobId = Annotated[str, Path(max_length=64, description="The job.", examples=[JOB_ID])]


@router.post(
    "/jobs/{job_id}/rating",
    summary="Rate a job",
    responses=errors(400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 503),
    openapi_extra=_RATING.openapi,
)
async def rate_job(
    job_id: JobId, key: ReadKey, services: ServicesDep, body: Annotated[RatingRequest, Depends(_RATING)]
) -> RatingBody:
    """Say how good the images are. A second rating takes the place of the first.

    A job can be rated from its success until its record is archived, a day later unless the operator says otherwise.
    """
    job = await services.jobs.rate(job_id, body.rating, owner=key.owner)
    alias = alias_of(job.route) if job.route else ""
    services.metrics.ratings.labels(alias, job.params.model, str(body.rating)).inc()
    return RatingBody(id=job.id, rating=body.rating)
