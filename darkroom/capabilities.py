"""What a model can do with a request's images, adapters and refiner, and what it can't.

Nothing that was asked for is passed over in silence: a feature that the model lacks, or that has no effect without
another field, is a problem that names the field. An adapter that an owner may not see is as one that does not exist.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from darkroom.catalogue import AdapterSpec, Catalogue, ModelSpec
from darkroom.errors import FieldProblem
from darkroom.names import nearest_name
from darkroom.params import AdapterUse, GenerationRequest, StoredImage

IMAGE_STRENGTH = 0.8  # diffusers' own defaults
INPAINT_STRENGTH = 1.0
_ROUNDING = 1e-6  # of sums of shares, before they are rounded to four digits


@dataclass(frozen=True)
class InputImages:
    """The pictures that came with a request, as they are stored."""

    init: StoredImage | None = None
    mask: StoredImage | None = None
    mask_is_blank: bool = False  # black everywhere


def chosen_strength(request: GenerationRequest, images: InputImages) -> float:
    """The share of the noise schedule to run; all of it where nothing is there to start from."""
    if images.init is None:
        return 1.0
    default = IMAGE_STRENGTH if images.mask is None else INPAINT_STRENGTH
    return default if request.strength is None else request.strength


def chosen_adapters(request: GenerationRequest, catalogue: Catalogue) -> tuple[AdapterUse, ...]:
    """The adapters with their scales; only those that exist."""
    return tuple(
        AdapterUse(name=choice.name, scale=spec.default_scale if choice.scale is None else choice.scale)
        for choice in request.adapters
        if (spec := catalogue.adapters.get(choice.name))
    )


def image_problems(
    request: GenerationRequest, images: InputImages, model: ModelSpec, catalogue: Catalogue, *, steps: int
) -> Iterator[FieldProblem]:
    """Input images, and the fields that only mean something beside them."""
    if model.inpaint == "native":
        yield from _missing_for_inpainting(images, model)
    elif images.mask is not None and images.init is None:
        yield FieldProblem("mask_image", "needs init_image: there is nothing to paint into", "with init_image only")
    if images.mask is not None:
        yield from _mask_problems(images, model, catalogue)
    if images.init is None and request.strength is not None:
        yield FieldProblem("strength", "has no effect without init_image", "with init_image only")
    for name in ("mask_blur", "mask_padding"):
        if images.mask is None and getattr(request, name) is not None:
            yield FieldProblem(name, "has no effect without mask_image", "with mask_image only")
    yield from _strength_problems(chosen_strength(request, images), steps)


def adapter_problems(
    request: GenerationRequest, model: ModelSpec, catalogue: Catalogue, *, owner: str
) -> Iterator[FieldProblem]:
    """Adapters that are unknown, not this owner's, another model's, or named twice."""
    visible = catalogue.adapters_of(owner)
    usable = [name for name, spec in visible.items() if spec.model == model.name]
    named: set[str] = set()
    for index, choice in enumerate(request.adapters):
        field = f"adapters[{index}].name"
        if choice.name in named:
            yield FieldProblem(field, "is named twice; give it one scale", "each adapter once")
        named.add(choice.name)
        if problem := _adapter_problem(field, choice.name, visible.get(choice.name), model, usable):
            yield problem


def refiner_problems(
    request: GenerationRequest, model: ModelSpec, catalogue: Catalogue, *, steps: int, strength: float
) -> Iterator[FieldProblem]:
    """A refiner that is not there, or that would leave itself or its base model without a step."""
    start = request.refiner_start
    if start is None:
        return
    if model.refiner is None:
        able = [name for name, spec in catalogue.models.items() if spec.refiner is not None]
        yield FieldProblem("refiner_start", f"model {model.name} has no refiner", _models(able))
        return
    least = math.ceil(1e4 * (1 - strength + 1 / steps) - _ROUNDING) / 1e4
    most = math.floor(1e4 * (1 - 1 / steps) + _ROUNDING) / 1e4
    if least > most:
        limit = "two steps or more"
        yield FieldProblem("num_inference_steps", f"must be {limit}: one for the model, one for its refiner", limit)
    elif not least <= start <= most:
        limit = f"{least:g} to {most:g} for {steps} steps at strength {strength:g}"
        nearest = min(max(start, least), most)
        yield FieldProblem("refiner_start", f"must leave model and refiner a step each: {limit}", limit, nearest)


def _missing_for_inpainting(images: InputImages, model: ModelSpec) -> Iterator[FieldProblem]:
    limit = "init_image and mask_image"
    for name, image in (("init_image", images.init), ("mask_image", images.mask)):
        if image is None:
            yield FieldProblem(name, f"model {model.name} only paints into images: it needs {limit}", limit)


def _mask_problems(images: InputImages, model: ModelSpec, catalogue: Catalogue) -> Iterator[FieldProblem]:
    init, mask = images.init, images.mask
    if model.inpaint == "none":
        able = [name for name, spec in catalogue.models.items() if spec.inpaint != "none"]
        yield FieldProblem("mask_image", f"model {model.name} can't paint into images", _models(able))
    if init is not None and mask is not None and (init.width, init.height) != (mask.width, mask.height):
        limit = f"{init.width}x{init.height} pixels, as init_image"
        yield FieldProblem("mask_image", f"must have {limit}", limit)
    if images.mask_is_blank:
        limit = "some white"
        yield FieldProblem("mask_image", "is black everywhere, so nothing would be painted; paint in white", limit)


def _strength_problems(strength: float, steps: int) -> Iterator[FieldProblem]:
    """Diffusers runs int(steps x strength) steps; none is no image."""
    if int(steps * strength) < 1:
        nearest = math.ceil(1e4 / steps) / 1e4
        limit = f"strength x num_inference_steps at least 1, so at least {nearest:g} for {steps} steps"
        yield FieldProblem("strength", f"must give one step or more: {limit}", limit, nearest)


def _adapter_problem(
    field: str, name: str, spec: AdapterSpec | None, model: ModelSpec, usable: list[str]
) -> FieldProblem | None:
    limit = ", ".join(usable) or f"none: there are no adapters for model {model.name}"
    if spec is None:
        return FieldProblem(field, "there is no such adapter", limit, nearest_name(name, usable))
    if spec.model != model.name:
        message = f"is made for model {spec.model}, not for {model.name}"
        return FieldProblem(field, message, limit, nearest_name(name, usable))
    return None


def _models(names: list[str]) -> str:
    return f"one of the models {', '.join(names)}" if names else "no model of this service"
