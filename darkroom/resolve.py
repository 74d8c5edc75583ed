"""Completes a request from its model's catalogue entry: what a caller left out, a recipe has.

What the model, its scheduler or its adapters can't do is refused here, all faults at once, each with the nearest value
that would do; what is legal but unwise becomes a warning. Knows nothing of HTTP or Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from darkroom.capabilities import (
    InputImages,
    adapter_problems,
    chosen_adapters,
    chosen_strength,
    image_problems,
    refiner_problems,
)
from darkroom.catalogue import Catalogue, ModelSpec
from darkroom.errors import FieldProblem, InvalidParams
from darkroom.names import nearest_name
from darkroom.params import GenerationParams, GenerationRequest
from darkroom.prompt_chunks import MARKERS, Plan
from darkroom.schedulers import SCHEDULERS
from darkroom.sizes import Size, choose_size, size_problems

UNWISE_GUIDANCE = 15.0  # above it colours burn out
UNWISE_STEPS = 8  # below it only few-step schedulers give a picture
ReadPrompt = Callable[[ModelSpec, str], Plan | None]


def resolve(
    request: GenerationRequest,
    *,
    catalogue: Catalogue,
    owner: str,
    draw_seed: Callable[[], int],
    read_prompt: ReadPrompt,
    images: InputImages = InputImages(),  # noqa: B008 -- frozen
) -> tuple[GenerationParams, tuple[str, ...]]:
    """Complete a request from its model's entry; also the warnings about legal but unwise values.

    Args:
        owner: sees the adapters that are for everybody, and its own.
        draw_seed: gives a seed in [0, MAX_SEED] for requests without one.
        read_prompt: how a model reads a prompt, or None where its tokenizer file is not at hand.
        images: what came with the request, decoded.

    Raises:
        InvalidParams: with one problem per field that the model can't do.
    """
    model = _find_model(request.model, catalogue)
    size = choose_size(request.width, request.height, model, images.init)
    params = _complete(request, catalogue, model, size, images=images, draw_seed=draw_seed)
    problems = [
        *size_problems(size, model),
        *_scheduler_problems(params),
        *image_problems(request, images, model, catalogue, steps=params.num_inference_steps),
        *adapter_problems(request, model, catalogue, owner=owner),
        *refiner_problems(
            request, model, catalogue, steps=params.num_inference_steps, strength=chosen_strength(request, images)
        ),
    ]
    if problems:
        raise InvalidParams(problems)
    notes = [size.note] if size.note else []
    return params, (*notes, *_warnings(request, params, model, read_prompt))


def _complete(
    request: GenerationRequest,
    catalogue: Catalogue,
    model: ModelSpec,
    size: Size,
    *,
    images: InputImages,
    draw_seed: Callable[[], int],
) -> GenerationParams:
    return GenerationParams(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        model=model.name,
        width=size.width,
        height=size.height,
        num_inference_steps=request.num_inference_steps or model.num_inference_steps,
        guidance_scale=model.guidance_scale if request.guidance_scale is None else request.guidance_scale,
        scheduler=model.scheduler if request.scheduler is None else request.scheduler,
        seed=draw_seed() if request.seed is None else request.seed,
        num_images=request.num_images,
        output_format=request.output_format,
        init_image=images.init,
        mask_image=images.mask,
        strength=chosen_strength(request, images),
        mask_blur=request.mask_blur or 0,
        mask_padding=request.mask_padding,
        adapters=chosen_adapters(request, catalogue),
        guidance_rescale=request.guidance_rescale or 0.0,
        guidance_stop=1.0 if request.guidance_stop is None else request.guidance_stop,
        refiner=None if request.refiner_start is None else model.refiner,
        refiner_start=1.0 if request.refiner_start is None else request.refiner_start,
        preview_every=request.preview_every or 0,
    )


def _find_model(name: str | None, catalogue: Catalogue) -> ModelSpec:
    if name is None:
        return catalogue.default_model
    if name in catalogue.models:
        return catalogue.models[name]
    nearest = nearest_name(name, catalogue.names)
    problem = FieldProblem("model", "the catalogue has no such model", ", ".join(catalogue.names), nearest)
    raise InvalidParams([problem])


def _scheduler_problems(params: GenerationParams) -> Iterator[FieldProblem]:
    scheduler = SCHEDULERS.get(params.scheduler)
    if scheduler is None:
        nearest = nearest_name(params.scheduler, SCHEDULERS)
        yield FieldProblem("scheduler", "there is no such scheduler", ", ".join(SCHEDULERS), nearest)
        return
    steps = params.num_inference_steps
    nearest_steps = min(max(steps, scheduler.min_steps), scheduler.max_steps)
    if steps != nearest_steps:
        limit = f"{scheduler.min_steps} to {scheduler.max_steps} steps"
        yield FieldProblem("num_inference_steps", f"{scheduler.name} takes {limit}", limit, nearest_steps)


def _warnings(
    request: GenerationRequest, params: GenerationParams, model: ModelSpec, read_prompt: ReadPrompt
) -> Iterator[str]:
    if params.guidance_scale > UNWISE_GUIDANCE:
        yield f"guidance_scale above {UNWISE_GUIDANCE:g} usually burns colours out"
    if params.guidance_scale <= 1:
        for name in ("guidance_rescale", "guidance_stop"):
            if getattr(request, name) is not None:
                yield f"{name} has no effect: guidance_scale {params.guidance_scale:g} means unguided"
    if params.num_inference_steps < UNWISE_STEPS and not (SCHEDULERS[params.scheduler].few_step and model.few_step):
        yield f"fewer than {UNWISE_STEPS} steps need a few-step model; expect a rough picture"
    if (params.width, params.height) not in model.native_sizes:
        sizes = ", ".join(f"{width}x{height}" for width, height in model.native_sizes)
        yield f"{params.width}x{params.height} is not a size {model.name} was trained on ({sizes})"
    for name, text in (("prompt", params.prompt), ("negative_prompt", params.negative_prompt)):
        plan = read_prompt(model, text)
        if plan is not None and plan.cut:
            read = sum(map(len, plan.chunks)) + MARKERS
            yield f"{name} has {plan.tokens} tokens; {model.name} reads the first {read} only"
