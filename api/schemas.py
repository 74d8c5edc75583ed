"""Bodies of the answers, and how a job's record becomes one.

Only a succeeded job's images get links, and only those whose own verdict let them go. The owner sees the whole
recipe, prompt included; nobody else ever gets this body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from api.cost_schemas import CostBody
from darkroom.appeals import decided_by, may_be_appealed
from darkroom.catalogue import MAX_SCALE, AdapterSpec, Capability, ModelSpec
from darkroom.input_limits import MAX_PIXELS, MAX_SIDE
from darkroom.jobs import ImageRecord, Job, JobError, JobStatus, Tier
from darkroom.params import MAX_ADAPTERS, MAX_GUIDANCE, MAX_IMAGES, MAX_PROMPT, GenerationParams
from darkroom.prompt_chunks import MARKERS, MAX_CHUNKS
from darkroom.routing import alias_of
from darkroom.schedulers import SchedulerInfo

JOB_ID = "job_01m8z6k2q4v7x9b3n5c8d1f0ga"


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Links(_Body):
    """Where to go next."""

    self: str = Field(examples=[f"/jobs/{JOB_ID}"])
    cancel: str | None = Field(None, description="Absent once the job has ended.", examples=[f"/jobs/{JOB_ID}/cancel"])


class ErrorBody(_Body):
    """Why a job failed, expired or was blocked."""

    code: str = Field(description="Stable code for programs.", examples=["prompt_violence"])
    message: str = Field(description="The same for people.")

    @classmethod
    def from_error(cls, error: JobError | None) -> Self | None:
        return None if error is None else cls(code=error.code, message=error.message)


class ReasonsBody(_Body):
    """Why something was refused, and what can be done about it. The entry of a list that matched is never told."""

    category: str | None = Field(description="What it was refused for; null where nobody looked in time.")
    stage: Literal["prompt", "image"] = Field(description="What was refused: the prompt, or the images.")
    automated: bool = Field(description="Whether a check refused it; else a person did, or nobody looked in time.")
    appeal: str = Field(description="`POST` your appeal here; `GET` reads it.", examples=[f"/jobs/{JOB_ID}/appeal"])


class ProgressBody(_Body):
    """How far a running job is, in denoising steps over all its images."""

    step: int
    steps: int


class ImageBody(_Body):
    """One finished image."""

    index: int = Field(description="Image i was made with the job's seed + i.")
    url: str = Field(
        description="Fetches the file, without a key, until `expires_at`. Read the job again for a new one."
    )
    expires_at: datetime
    seed: int
    width: int
    height: int
    content_type: str = Field(examples=["image/png"])
    bytes: int
    sha256: str = Field(description="Of the file, in hexadecimal.")
    pixels_sha256: str | None = Field(description="Of the pixels before marking; null for images of older releases.")


class JobBody(_Body):
    """A job as its owner sees it."""

    id: str = Field(examples=[JOB_ID])
    status: JobStatus
    tier: Tier
    created_at: datetime
    started_at: datetime | None = Field(description="When the latest attempt began.")
    finished_at: datetime | None
    deadline_at: datetime | None
    attempt: int = Field(description="Runs so far; more than one after a worker was lost.")
    cancel_requested: bool
    queue_position: int | None = Field(description="1 is next; an estimate. Null unless queued.")
    eta_seconds: float | None = Field(description="Until the images are there; an estimate. Null where unknown.")
    progress: ProgressBody
    params: GenerationParams = Field(description="The complete recipe, with every default filled in.")
    warnings: tuple[str, ...]
    metadata: Mapping[str, str]
    rewritten: bool = Field(description="Whether safety changed the prompt; `params` has the texts that are used.")
    images: tuple[ImageBody, ...]
    error: ErrorBody | None
    reasons: ReasonsBody | None = Field(description="Why it was refused and how to appeal; null where it was not.")
    appeal_of: str | None = Field(description="The refused job that this one makes up for, after a granted appeal.")
    withheld: tuple[int, ...] = Field(description="Images that were taken down after their release.")
    region: str | None = Field(description="Where it was accepted and runs; null where regions have no names.")
    cost: CostBody
    alias: str | None = Field(description="What the request named instead of `params.model`, where that is an alias.")
    rating: int | None = Field(description="How you rated it, from 1 to 5; null where you have not.")
    links: Links


class SubmittedBody(_Body):
    """A job that was just accepted, or found again by its Idempotency-Key."""

    id: str = Field(examples=[JOB_ID])
    status: JobStatus
    queue_position: int | None = Field(description="1 is next; an estimate. Null unless queued.")
    eta_seconds: float | None = Field(description="Until the images are there; an estimate. Null where unknown.")
    links: Links
    warnings: tuple[str, ...] = Field(description="Legal but unwise values.")
    params: GenerationParams = Field(description="The complete recipe, with every default filled in.")
    rewritten: bool = Field(description="Whether safety changed the prompt; `params` has the texts that are used.")
    error: ErrorBody | None = Field(description="Why the prompt was refused, when `status` is `blocked`.")

    @classmethod
    def from_job(cls, job: Job, *, place: Place) -> Self:
        return cls(
            id=job.id,
            status=job.status,
            queue_position=place.position,
            eta_seconds=place.eta_seconds,
            links=links_of(job),
            warnings=job.warnings,
            params=job.params,
            rewritten=job.rewritten,
            error=ErrorBody.from_error(job.error),
        )


class JobPage(_Body):
    """Some of the owner's jobs, newest first."""

    jobs: tuple[JobBody, ...]
    next_cursor: str | None = Field(description="Pass as `cursor` for the page after this one; null on the last page.")


class Size(_Body):
    """Pixels."""

    width: int
    height: int


class Span(_Body):
    """From the least to the most that is allowed."""

    least: int
    most: int


class ModelBody(_Body):
    """A model of the catalogue: its defaults and its limits."""

    name: str
    default: bool = Field(description="Used when a request names no model.")
    description: str
    family: str
    licence: str
    capabilities: tuple[Capability, ...] = Field(
        description="What it can do. One without `text_to_image` only paints into images: it needs a mask."
    )
    embeddings: tuple[str, ...] = Field(description="Words of their own (textual inversion) that a prompt may use.")
    few_step: bool = Field(description="Distilled to need 1 to 8 steps.")
    native_sizes: tuple[Size, ...] = Field(description="Sizes it was trained on; the first is its default.")
    side: Span = Field(description="Width and height, in multiples of 8.")
    max_pixels: int
    max_tokens: int = Field(description="Prompt tokens it reads, in several chunks; what comes after is ignored.")
    scheduler: str = Field(description="Default.")
    num_inference_steps: int = Field(description="Default.")
    guidance_scale: float = Field(description="Default.")

    @classmethod
    def from_spec(cls, spec: ModelSpec, *, default: bool, embeddings: tuple[str, ...]) -> Self:
        return cls(
            name=spec.name,
            default=default,
            description=spec.description,
            family=spec.family,
            licence=spec.licence,
            capabilities=spec.capabilities,
            embeddings=embeddings,
            few_step=spec.few_step,
            native_sizes=tuple(Size(width=width, height=height) for width, height in spec.native_sizes),
            side=Span(least=spec.min_side, most=spec.max_side),
            max_pixels=spec.max_pixels,
            max_tokens=MAX_CHUNKS * (spec.max_tokens - MARKERS) + MARKERS,
            scheduler=spec.scheduler,
            num_inference_steps=spec.num_inference_steps,
            guidance_scale=spec.guidance_scale,
        )


class AliasBody(_Body):
    """A name that stands for a model, or for one of several."""

    name: str
    default: bool = Field(description="Used when a request names no model.")
    description: str


class RequestLimits(_Body):
    """What holds for every model."""

    prompt_characters: int = MAX_PROMPT
    num_images: int = MAX_IMAGES
    guidance_scale: float = MAX_GUIDANCE
    adapters: int = MAX_ADAPTERS
    adapter_scale: float = Field(MAX_SCALE, description="At most this, and at least its negative.")
    input_image_bytes: int
    input_image_side: int = MAX_SIDE
    input_image_pixels: int = MAX_PIXELS


class ModelList(_Body):
    """What may be asked for."""

    models: tuple[ModelBody, ...]
    aliases: tuple[AliasBody, ...] = Field(description="May be named like models; `params.model` says what was used.")
    limits: RequestLimits


class AdapterBody(_Body):
    """An adapter (LoRA) of the catalogue."""

    name: str
    model: str = Field(description="The model it is made for; it works with no other.")
    description: str
    trigger: str = Field(description="Words that call its style up in a prompt; empty where it needs none.")
    licence: str
    default_scale: float

    @classmethod
    def from_spec(cls, spec: AdapterSpec) -> Self:
        return cls(
            name=spec.name,
            model=spec.model,
            description=spec.description,
            trigger=spec.trigger,
            licence=spec.licence,
            default_scale=spec.default_scale,
        )


class AdapterList(_Body):
    """The adapters that this owner may use."""

    adapters: tuple[AdapterBody, ...]


class SchedulerBody(_Body):
    """A noise scheduler and its own limits."""

    name: str
    title: str
    description: str
    min_steps: int
    max_steps: int
    few_step: bool
    stochastic: bool

    @classmethod
    def from_info(cls, info: SchedulerInfo) -> Self:
        return cls(
            name=info.name,
            title=info.title,
            description=info.description,
            min_steps=info.min_steps,
            max_steps=info.max_steps,
            few_step=info.few_step,
            stochastic=info.stochastic,
        )


class SchedulerList(_Body):
    """The noise schedulers there are."""

    schedulers: tuple[SchedulerBody, ...]


class Liveness(_Body):
    """The process answers."""

    status: str = Field("alive", examples=["alive"])


class ReadinessBody(_Body):
    """The process can serve."""

    status: str = Field("ready", examples=["ready"])
    parts: Mapping[str, str] = Field(examples=[{"job_store": "ok", "object_store": "ok"}])


@dataclass(frozen=True)
class Place:
    """Where a job stands in its queue, as far as anybody can tell."""

    position: int | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True)
class Link:
    """A link to a file, and when it stops working (Unix seconds)."""

    url: str
    expires_at: float


def job_body(job: Job, *, place: Place, link: Callable[[Job, ImageRecord], Link]) -> JobBody:
    """The job as its owner sees it; `link` makes a fresh link to an image."""
    free = [image for image in job.images if image.decision == "allow" and image.index not in job.withheld]
    released = free if job.status is JobStatus.SUCCEEDED else []
    return JobBody(
        id=job.id,
        status=job.status,
        tier=job.tier,
        created_at=_moment(job.created_at),
        started_at=_moment_or_none(job.started_at),
        finished_at=_moment_or_none(job.finished_at),
        deadline_at=_moment_or_none(job.deadline_at),
        attempt=job.attempt,
        cancel_requested=job.cancel_requested,
        queue_position=place.position,
        eta_seconds=place.eta_seconds,
        progress=ProgressBody(step=job.progress.step, steps=job.progress.steps),
        params=job.params,
        warnings=job.warnings,
        metadata=job.metadata,
        rewritten=job.rewritten,
        images=tuple(_image_body(image, link(job, image)) for image in released),
        error=ErrorBody.from_error(job.error),
        reasons=_reasons_of(job),
        appeal_of=job.appeal_of,
        region=job.region or None,
        cost=CostBody.from_job(job),
        withheld=job.withheld,
        alias=alias_of(job.route) if job.route else None,
        rating=job.rating,
        links=links_of(job),
    )


def _reasons_of(job: Job) -> ReasonsBody | None:
    if job.error is None or not may_be_appealed(job):
        return None
    stage, _, category = job.error.code.partition("_")
    unreviewed = job.status is JobStatus.EXPIRED
    return ReasonsBody(
        category=None if unreviewed else category,
        stage="prompt" if stage == "prompt" else "image",
        automated=not unreviewed and decided_by(job) is None,
        appeal=f"/jobs/{job.id}/appeal",
    )


def links_of(job: Job) -> Links:
    path = f"/jobs/{job.id}"
    return Links(self=path, cancel=None if job.status.is_terminal else f"{path}/cancel")


def _image_body(image: ImageRecord, link: Link) -> ImageBody:
    return ImageBody(
        index=image.index,
        url=link.url,
        expires_at=_moment(link.expires_at),
        seed=image.seed,
        width=image.width,
        height=image.height,
        content_type=image.content_type,
        bytes=image.bytes,
        sha256=image.sha256,
        pixels_sha256=image.pixels_sha256 or None,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else _moment(seconds)
