"""What a caller asks for, and the complete recipe that it resolves to.

`GenerationRequest` is the body of `POST /generate`: most fields may be left out. `darkroom/resolve.py` fills every gap
and makes `GenerationParams` of it, which the record stores and the worker obeys. Images that came with the request are
in a recipe by key and digest only. Knows nothing of HTTP or Redis.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from darkroom.catalogue import MAX_SCALE
from darkroom.webhook_events import WebhookEvent
from darkroom.webhook_urls import MAX_URL

MAX_PROMPT = 2_000  # characters
MAX_IMAGES = 8
MAX_SEED = 2**63 - 1 - MAX_IMAGES  # image i uses seed + i, and torch takes signed 64-bit seeds
MAX_GUIDANCE = 30.0
MAX_DEADLINE = 24 * 3600  # seconds
MAX_ADAPTERS = 8
MAX_MASK_BLUR = 64  # pixels
MAX_MASK_PADDING = 512  # pixels
MAX_PREVIEW_EVERY = 1_000  # steps

OutputFormat = Literal["png", "jpeg", "webp"]
TierName = Literal["preview", "standard", "quality"]
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _clean_text(value: str) -> str:
    """Refuse text that no tokenizer, log or file format can carry."""
    if any(0xD800 <= ord(char) <= 0xDFFF for char in value):
        raise ValueError("holds half of a surrogate pair, which is not valid Unicode text")
    if _CONTROL.search(value):
        raise ValueError("holds a control character")
    return value


Text = Annotated[str, AfterValidator(_clean_text)]
PromptText = Annotated[Text, StringConstraints(min_length=1, max_length=MAX_PROMPT)]
NegativeText = Annotated[Text, StringConstraints(max_length=MAX_PROMPT)]
MetadataKey = Annotated[Text, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[Text, StringConstraints(max_length=512)]


class AdapterChoice(BaseModel):
    """One adapter that a request asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: Annotated[Text, StringConstraints(min_length=1, max_length=64)] = Field(
        description="A name from `GET /adapters`, made for the request's model."
    )
    scale: float | None = Field(
        None, ge=-MAX_SCALE, le=MAX_SCALE, description="How strongly it works; the adapter's own default if left out."
    )


class WebhookChoice(BaseModel):
    """Where one job's events are posted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    url: Annotated[Text, StringConstraints(min_length=1, max_length=MAX_URL)] = Field(
        repr=False, description="https, unless the operator allows http."
    )
    events: Annotated[tuple[WebhookEvent, ...], Field(strict=False)] = Field(
        (), max_length=16, description="Types to send; none means all but `job.progress`."
    )


_BASE64: JsonDict = {"contentEncoding": "base64", "contentMediaType": "image/png"}


class GenerationRequest(BaseModel):
    """The body of `POST /generate`. Fields left out take the model's own defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    prompt: PromptText = Field(
        repr=False, description="What the picture shows.", examples=["a red circle on a blue background"]
    )
    negative_prompt: NegativeText = Field("", repr=False, description="What the picture should not show.")
    model: str | None = Field(None, max_length=128, description="A name from `GET /models`.")
    width: int | None = Field(None, ge=8, le=8192, description="Pixels; a multiple of 8 within the model's limits.")
    height: int | None = Field(None, ge=8, le=8192, description="Pixels; a multiple of 8 within the model's limits.")
    num_inference_steps: int | None = Field(None, ge=1, le=1000, description="Denoising steps.")
    guidance_scale: float | None = Field(None, ge=0, le=MAX_GUIDANCE, description="1 or less means unguided.")
    scheduler: str | None = Field(None, max_length=64, description="A name from `GET /schedulers`.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Image i uses seed + i. Left out: drawn for you.")
    num_images: int = Field(1, ge=1, le=MAX_IMAGES, description="Images to make.")
    tier: TierName = Field("standard", description="The queue to wait in.")
    priority: int = Field(0, ge=-10, le=10, description="Higher goes first among your own jobs of the tier.")
    output_format: OutputFormat = Field("png", description="The image files' format.")
    deadline_seconds: int | None = Field(
        None, ge=1, le=MAX_DEADLINE, description="Give up when the images are not done in this many seconds."
    )
    init_image: str | None = Field(
        None,
        repr=False,
        description="A PNG, JPEG or WebP file in base64, to start from. It is never fetched from a URL.",
        json_schema_extra=_BASE64,
    )
    mask_image: str | None = Field(
        None,
        repr=False,
        description="A file like init_image and of its size: white is painted anew, black is kept.",
        json_schema_extra=_BASE64,
    )
    strength: float | None = Field(
        None, gt=0, le=1, description="How far from init_image to go; 0.8 if left out, 1 with a mask."
    )
    mask_blur: int | None = Field(None, ge=0, le=MAX_MASK_BLUR, description="Softens the mask's edge; pixels.")
    mask_padding: int | None = Field(
        None,
        ge=0,
        le=MAX_MASK_PADDING,
        description="Work on the masked area alone, with this many pixels around it, at the full size.",
    )
    adapters: Annotated[tuple[AdapterChoice, ...], Field(strict=False)] = Field(
        (), max_length=MAX_ADAPTERS, description="Adapters (LoRAs) to apply together, each with its own scale."
    )
    guidance_rescale: float | None = Field(
        None, ge=0, le=1, description="Tames burnt colours of strong guidance (Lin et al. 2023); 0 if left out."
    )
    guidance_stop: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the steps after which guidance stops, to save time. Approximate: the image differs from "
        "that of full guidance. 1 (never) if left out.",
    )
    refiner_start: float | None = Field(
        None, gt=0, lt=1, description="Share of the noise schedule at which the model's refiner takes over."
    )
    preview_every: int | None = Field(
        None, ge=0, le=MAX_PREVIEW_EVERY, description="Steps between previews, where the policy allows them; 0: none."
    )
    policy: str | None = Field(
        None, max_length=64, description="A safety policy that is at least as strict in everything as your own."
    )
    webhook: WebhookChoice | None = Field(
        None, description="Where this job's events are posted, besides your endpoints; signed with your own secret."
    )
    dry_run: bool = Field(
        default=False, description="Answer with what the job would take and cost, and store nothing; no check runs."
    )
    metadata: Mapping[MetadataKey, MetadataValue] = Field(
        default_factory=dict, max_length=16, description="Your own small labels, echoed back; never shown to a model."
    )


_RECORDED = ConfigDict(extra="ignore", frozen=True)  # a newer release's record may say more


class AdapterUse(BaseModel):
    """One adapter of a recipe."""

    model_config = _RECORDED

    name: str
    scale: float


class StoredImage(BaseModel):
    """An input image of a recipe: a PNG in the object store that Darkroom made of the caller's file."""

    model_config = _RECORDED

    key: str
    sha256: str  # of the stored PNG
    width: int
    height: int
    original: str | None = None  # object key of the sealed file as it came, kept where it has a manifest
    original_type: str | None = None  # its content type


class GenerationParams(BaseModel):
    """A complete recipe: with it and the model's weights anyone can make the same images again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(repr=False)  # a record's repr may meet a log
    negative_prompt: str = Field(repr=False)
    model: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    seed: int
    num_images: int
    output_format: OutputFormat
    init_image: StoredImage | None = None
    mask_image: StoredImage | None = None
    strength: float = 1.0  # share of the noise schedule that is run; 1 without an input image
    mask_blur: int = 0
    mask_padding: int | None = None
    adapters: tuple[AdapterUse, ...] = ()
    guidance_rescale: float = 0.0
    guidance_stop: float = 1.0
    refiner: str | None = None
    refiner_start: float = 1.0  # 1: the refiner is not used
    preview_every: int = 0
