"""What a caller asks for, and the complete recipe that it resolves to.

`GenerationRequest` is the body of `POST /generate`: most fields may be left out. `resolve` fills every gap from the
model's catalogue entry (the seed too) and gives `GenerationParams`, which the record stores and the worker obeys, so
that code below asks no `is None`. Knows nothing of HTTP or Redis.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from darkroom.catalogue import Catalogue, ModelSpec
from darkroom.errors import FieldProblem, InvalidParams
from darkroom.schedulers import SCHEDULERS

MAX_PROMPT = 2_000  # characters
MAX_IMAGES = 8
MAX_SEED = 2**63 - 1 - MAX_IMAGES  # image i uses seed + i, and torch takes signed 64-bit seeds
MAX_GUIDANCE = 30.0
MAX_DEADLINE = 24 * 3600  # seconds
UNWISE_GUIDANCE = 15.0  # above it colours burn out
UNWISE_STEPS = 8  # below it only few-step schedulers give a picture

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
    output_format: OutputFormat = Field("png", description="The image files' format.")
    deadline_seconds: int | None = Field(
        None, ge=1, le=MAX_DEADLINE, description="Give up when the images are not done in this many seconds."
    )
    metadata: Mapping[MetadataKey, MetadataValue] = Field(
        default_factory=dict, max_length=16, description="Your own small labels, echoed back; never shown to a model."
    )


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


def resolve(
    request: GenerationRequest,
    *,
    catalogue: Catalogue,
    draw_seed: Callable[[], int],
    count_tokens: Callable[[ModelSpec, str], int | None],
) -> tuple[GenerationParams, tuple[str, ...]]:
    """Complete a request from its model's entry; also the warnings about legal but unwise values.

    Args:
        draw_seed: gives a seed in [0, MAX_SEED] for requests without one.
        count_tokens: tokens of a prompt for a model, or None where its tokenizer file is not at hand.

    Raises:
        InvalidParams: with one problem per field that the model can't do.
    """
    model = _find_model(request.model, catalogue)
    params = GenerationParams(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        model=model.name,
        width=request.width or model.width,
        height=request.height or model.height,
        num_inference_steps=request.num_inference_steps or model.num_inference_steps,
        guidance_scale=model.guidance_scale if request.guidance_scale is None else request.guidance_scale,
        scheduler=model.scheduler if request.scheduler is None else request.scheduler,
        seed=draw_seed() if request.seed is None else request.seed,
        num_images=request.num_images,
        output_format=request.output_format,
    )
    problems = [*_size_problems(params, model), *_scheduler_problems(params)]
    if problems:
        raise InvalidParams(problems)
    return params, tuple(_warnings(params, model, count_tokens))


def _find_model(name: str | None, catalogue: Catalogue) -> ModelSpec:
    if name is None:
        return catalogue.default_model
    if name in catalogue.models:
        return catalogue.models[name]
    nearest = _nearest_name(name, list(catalogue.models))
    problem = FieldProblem("model", "the catalogue has no such model", ", ".join(catalogue.models), nearest)
    raise InvalidParams([problem])


def _nearest_name(name: str, names: list[str]) -> str | None:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return close[0] if close else None


def _size_problems(params: GenerationParams, model: ModelSpec) -> list[FieldProblem]:
    problems = []
    for name, value in (("width", params.width), ("height", params.height)):
        nearest = min(max(round(value / 8) * 8, model.min_side), model.max_side)
        if value != nearest:
            limit = f"a multiple of 8 from {model.min_side} to {model.max_side}"
            problems.append(FieldProblem(name, f"must be {limit} for model {model.name}", limit, nearest))
    if not problems and params.width * params.height > model.max_pixels:
        limit = f"width x height at most {model.max_pixels} pixels"
        nearest = max(model.max_pixels // params.width // 8 * 8, model.min_side)
        problems.append(FieldProblem("height", f"{limit} for model {model.name}", limit, nearest))
    return problems


def _scheduler_problems(params: GenerationParams) -> list[FieldProblem]:
    scheduler = SCHEDULERS.get(params.scheduler)
    if scheduler is None:
        nearest = _nearest_name(params.scheduler, list(SCHEDULERS))
        return [FieldProblem("scheduler", "there is no such scheduler", ", ".join(SCHEDULERS), nearest)]
    steps = params.num_inference_steps
    nearest_steps = min(max(steps, scheduler.min_steps), scheduler.max_steps)
    if steps == nearest_steps:
        return []
    limit = f"{scheduler.min_steps} to {scheduler.max_steps} steps"
    return [FieldProblem("num_inference_steps", f"{scheduler.name} takes {limit}", limit, nearest_steps)]


def _warnings(
    params: GenerationParams, model: ModelSpec, count_tokens: Callable[[ModelSpec, str], int | None]
) -> list[str]:
    warnings = []
    if params.guidance_scale > UNWISE_GUIDANCE:
        warnings.append(f"guidance_scale above {UNWISE_GUIDANCE:g} usually burns colours out")
    if params.num_inference_steps < UNWISE_STEPS and not (SCHEDULERS[params.scheduler].few_step and model.few_step):
        warnings.append(f"fewer than {UNWISE_STEPS} steps need a few-step model; expect a rough picture")
    if (params.width, params.height) not in model.native_sizes:
        sizes = ", ".join(f"{width}x{height}" for width, height in model.native_sizes)
        warnings.append(f"{params.width}x{params.height} is not a size {model.name} was trained on ({sizes})")
    for name, text in (("prompt", params.prompt), ("negative_prompt", params.negative_prompt)):
        tokens = count_tokens(model, text)
        if tokens is not None and tokens > model.max_tokens:
            warnings.append(f"{name} has {tokens} tokens; {model.name} reads the first {model.max_tokens} only")
    return warnings
