"""The size of a job's images: what the caller says, what an input image suggests, what the model allows.

A size that is said must be legal as it stands. One that is left out beside an input image is taken from it: scaled into
the model's limits with its proportions kept, then snapped to multiples of 8, because latents are an eighth as wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from darkroom.catalogue import ModelSpec
from darkroom.errors import FieldProblem

CELL = 8  # pixels a latent stands for, each way


class Sized(Protocol):
    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...


@dataclass(frozen=True)
class Size:
    """Pixels; `note` warns where it is not what an image suggests."""

    width: int
    height: int
    note: str | None = None


def choose_size(width: int | None, height: int | None, model: ModelSpec, image: Sized | None) -> Size:
    """Fill in what the caller left out."""
    if image is None or (width is not None and height is not None):
        return Size(width or model.width, height or model.height)
    size = _taken(width, height, model, image)
    if (size.width, size.height) == (image.width, image.height):
        return size
    note = (
        f"{size.width}x{size.height} was taken from init_image ({image.width}x{image.height}), "
        f"snapped to multiples of {CELL} within the limits of {model.name}"
    )
    return Size(size.width, size.height, note)


def size_problems(size: Size, model: ModelSpec) -> Iterator[FieldProblem]:
    """What the model can't do about a size."""
    legal = True
    for name, value in (("width", size.width), ("height", size.height)):
        nearest = _snapped(value, model)
        if value != nearest:
            legal = False
            limit = f"a multiple of {CELL} from {model.min_side} to {model.max_side}"
            yield FieldProblem(name, f"must be {limit} for model {model.name}", limit, nearest)
    if legal and size.width * size.height > model.max_pixels:
        limit = f"width x height at most {model.max_pixels} pixels"
        nearest = max(model.max_pixels // size.width // CELL * CELL, model.min_side)
        yield FieldProblem("height", f"{limit} for model {model.name}", limit, nearest)


def _taken(width: int | None, height: int | None, model: ModelSpec, image: Sized) -> Size:
    ratio = image.width / image.height
    if width is not None:
        return Size(width, _snapped(width / ratio, model))
    if height is not None:
        return Size(_snapped(height * ratio, model), height)
    return _fitted(image.width, image.height, model)


def _fitted(width: int, height: int, model: ModelSpec) -> Size:
    """The nearest legal size of these proportions; extreme ones can't be kept."""
    grow = max(1.0, model.min_side / min(width, height))
    shrink = min(1.0, model.max_side / (max(width, height) * grow))
    shrink = min(shrink, math.sqrt(model.max_pixels / (width * height)) / grow)
    wide, high = _snapped(width * grow * shrink, model), _snapped(height * grow * shrink, model)
    if wide * high > model.max_pixels:  # rounded up too far: round down, which keeps a square square
        wide, high = (_snapped(side * grow * shrink - CELL / 2, model) for side in (width, height))
    while wide * high > model.max_pixels:
        wide, high = (wide - CELL, high) if wide >= high else (wide, high - CELL)
    return Size(wide, high)


def _snapped(side: float, model: ModelSpec) -> int:
    return min(max(round(side / CELL) * CELL, model.min_side), model.max_side)
