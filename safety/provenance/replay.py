"""From a recipe back to a request that makes the same image again, and to the recipe from a job's parameters.

Input images can't be part of it: a recipe names them by digest, and whoever replays brings them along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darkroom.params import GenerationParams
from darkroom.schedulers import SCHEDULERS
from safety.provenance.recipe import Recipe

#: Parameters that mean something only beside an input image.
_OF_INIT, _OF_MASK = ("strength",), ("mask_blur", "mask_padding")
_PLAIN = (
    "prompt",
    "negative_prompt",
    "model",
    "width",
    "height",
    "num_inference_steps",
    "guidance_scale",
    "scheduler",
    "seed",
    "num_images",
    "output_format",
    "guidance_rescale",
    "guidance_stop",
)


def request_of_params(params: GenerationParams) -> Mapping[str, Any]:
    """The body of `POST /generate` that gives a job with these parameters, its input images left out."""
    names = (*_PLAIN, *(_OF_INIT if params.init_image else ()), *(_OF_MASK if params.mask_image else ()))
    body = {name: value for name in names if (value := getattr(params, name)) is not None}
    if params.adapters:
        body["adapters"] = [adapter.model_dump() for adapter in params.adapters]
    if params.refiner:
        body["refiner_start"] = params.refiner_start
    return body


def request_of_recipe(recipe: Recipe) -> Mapping[str, Any]:
    """The body that gives the one image of this recipe, its input images left out.

    Raises:
        ValueError: the recipe names a scheduler that is not known here.
    """
    names = {info.title: name for name, info in SCHEDULERS.items()}
    if recipe.scheduler not in names:
        raise ValueError(f"there is no scheduler {recipe.scheduler!r} here")
    body: dict[str, Any] = {
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "model": recipe.model,
        "width": recipe.width,
        "height": recipe.height,
        "num_inference_steps": recipe.steps,
        "guidance_scale": recipe.guidance_scale,
        "scheduler": names[recipe.scheduler],
        "seed": recipe.seed,
        "guidance_rescale": recipe.guidance_rescale,
        "guidance_stop": recipe.guidance_stop,
    }
    if recipe.adapters:
        body["adapters"] = [{"name": name, "scale": scale} for name, scale in recipe.adapters]
    if recipe.init_image is not None and recipe.strength is not None:
        body["strength"] = recipe.strength
    if recipe.mask_image is not None:
        body |= {"mask_blur": recipe.mask_blur, "mask_padding": recipe.mask_padding}
    if recipe.refiner is not None:
        body["refiner_start"] = recipe.refiner_start
    return body


def recipe_of(params: GenerationParams, index: int) -> Recipe:
    """How image `index` of a job with these parameters was made."""
    return Recipe(
        prompt=params.prompt,
        negative_prompt=params.negative_prompt,
        steps=params.num_inference_steps,
        scheduler=SCHEDULERS[params.scheduler].title,
        guidance_scale=params.guidance_scale,
        seed=params.seed + index,
        width=params.width,
        height=params.height,
        model=params.model,
        adapters=tuple((adapter.name, adapter.scale) for adapter in params.adapters),
        init_image=params.init_image.sha256 if params.init_image else None,
        strength=params.strength if params.init_image else None,
        mask_image=params.mask_image.sha256 if params.mask_image else None,
        mask_blur=params.mask_blur,
        mask_padding=params.mask_padding,
        guidance_rescale=params.guidance_rescale,
        guidance_stop=params.guidance_stop,
        refiner=params.refiner,
        refiner_start=params.refiner_start if params.refiner else None,
    )
