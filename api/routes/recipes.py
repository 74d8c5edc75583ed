"""`GET /jobs/{id}/recipe`: how to make a job again."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter

from api.auth import ReadKey
from api.dependencies import ServicesDep
from api.openapi import errors
from api.provenance_schemas import RecipeBody, RecipeImage
from api.routes.jobs import JobId
from darkroom.jobs import ImageRecord, Job, JobStatus
from safety.provenance.replay import recipe_of, request_of_params

router = APIRouter(tags=["provenance"])


@router.get("/jobs/{job_id}/recipe", summary="Read a job's recipe", responses=errors(401, 403, 404, 410, 429, 503))
async def read_recipe(job_id: JobId, key: ReadKey, services: ServicesDep) -> RecipeBody:
    """A request that makes the job again, and the digests to compare the images by."""
    job = await services.jobs.get(job_id, owner=key.owner)
    inputs = {"init_image": job.params.init_image, "mask_image": job.params.mask_image}
    return RecipeBody(
        job_id=job.id,
        request=request_of_params(job.params),
        inputs={name: image.sha256 for name, image in inputs.items() if image is not None},
        images=tuple(_image(job, image) for image in job.images if _is_released(job, image)),
    )


def _is_released(job: Job, image: ImageRecord) -> bool:
    return job.status is JobStatus.SUCCEEDED and image.decision == "allow" and image.index not in job.withheld


def _image(job: Job, image: ImageRecord) -> RecipeImage:
    recipe = replace(recipe_of(job.params, image.index), pixels=image.pixels_sha256 or None)
    return RecipeImage(
        index=image.index, recipe=recipe.as_text(), sha256=image.sha256, pixels_sha256=image.pixels_sha256 or None
    )
