"""What can be wrong with a request's image, mask and strength.

The service refuses most of it before a job is stored; the engine has other callers too, and must not find out in the
middle of a batch. Arrays of the wrong kind would become pictures of something else, or fail far from their cause.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from darkroom.errors import FieldProblem
from engine.samples import ImageRequest

_CHANNELS = 3
_IMAGE = "(h, w, 3) uint8"
_MASK = "(h, w) uint8, as large as init_image"


def image_problems(request: ImageRequest, *, inpaints_by_channels: bool) -> Iterator[FieldProblem]:
    """What keeps a sample from its beginning.

    Args:
        inpaints_by_channels: whether the UNet takes a mask and a masked image as input, and so can't do without.
    """
    image, mask = request.init_image, request.mask_image
    if inpaints_by_channels:
        for name, given in (("init_image", image), ("mask_image", mask)):
            if given is None:
                yield FieldProblem(name, "this model only repaints parts of an image, so it needs one")
    elif image is None and mask is not None:
        yield FieldProblem("mask_image", "needs an init_image whose part it names")
    if image is not None:
        yield from _image_problems(image)
        yield from _strength_problems(request)
        if mask is not None:
            yield from _mask_problems(request, image, mask)


def steps_left(request: ImageRequest) -> int:
    """How many of the steps an image goes through."""
    return min(int(request.num_inference_steps * request.strength), request.num_inference_steps)


def _image_problems(image: np.ndarray) -> Iterator[FieldProblem]:
    if image.dtype != np.uint8 or image.ndim != _CHANNELS or image.shape[2] != _CHANNELS or image.size == 0:
        yield FieldProblem("init_image", f"must be {_IMAGE}", _IMAGE)


def _mask_problems(request: ImageRequest, image: np.ndarray, mask: np.ndarray) -> Iterator[FieldProblem]:
    if mask.dtype != np.uint8 or mask.shape != image.shape[:2]:
        yield FieldProblem("mask_image", f"must be {_MASK}", _MASK)
    elif request.mask_padding is not None and not mask.any():
        yield FieldProblem("mask_image", "is black everywhere, so there is nothing to crop to", "some white")
    for name, pixels in (("mask_blur", request.mask_blur), ("mask_padding", request.mask_padding or 0)):
        if pixels < 0:
            yield FieldProblem(name, "must not be negative", "0 or more", 0)
    if request.refiner is not None:
        yield FieldProblem("refiner", "does not go with a mask: it would not know what to keep", "no mask_image")


def _strength_problems(request: ImageRequest) -> Iterator[FieldProblem]:
    if not 0 < request.strength <= 1:
        yield FieldProblem("strength", "must be above 0 and at most 1", "0 to 1", 1.0)
    elif steps_left(request) < 1:
        nearest = math.ceil(1e4 / request.num_inference_steps) / 1e4
        yield FieldProblem("strength", "leaves no step to do", "strength x num_inference_steps at least 1", nearest)
