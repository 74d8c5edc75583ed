"""Sees what a style does to an image of one object, and still what the object is.

Edges, saturation, brightness and ink are counted over all pixels. Shape and colours are told by painted examples: the
shape by the painted one that correlates best at any place, colours by the nearest among those that the painter shows
for each name, flat and in the style. So one eye judges the base and the style alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.painter import paint
from training.scenes import COLOURS, SHAPES, Combination, Scene, Thing, scene_of
from training.styles import paint_in

SIDE = 48
BORDER = 6
EDGE = 30.0  # of 255: the least difference between neighbouring pixels at an edge
LEAST_CONTRAST = 25.0
RADII = (0.18, 0.205, 0.23, 0.26, 0.29, 0.32)
Pixels = npt.NDArray[np.float32]
Painter = Callable[[Scene, int], Image.Image]


@dataclass(frozen=True)
class Looks:
    """How an image looks, 0 to 1 each."""

    edges: float  # share of pixels at an edge
    saturation: float  # mean, as in HSV
    brightness: float  # mean luminance
    ink: float  # share of pixels that differ from the background


def looks_of(image: Image.Image) -> Looks:
    """Measure an image."""
    pixels = _pixels(image)
    across = np.abs(np.diff(pixels, axis=1)).max(axis=2)[:-1]
    down = np.abs(np.diff(pixels, axis=0)).max(axis=2)[:, :-1]
    contrast = _contrast(pixels)
    return Looks(
        edges=float((np.maximum(across, down) > EDGE).mean()),
        saturation=float(np.asarray(image.convert("HSV"))[:, :, 1].mean() / 255),
        brightness=float(np.asarray(image.convert("L")).mean() / 255),
        ink=float((contrast > _threshold(contrast)).mean()),
    )


@dataclass(frozen=True)
class Agreement:
    """In which points an image is as it was asked for."""

    shape: bool = True
    colour: bool = True
    background: bool = True


class StyleEye:
    """Compares an image that is flat, in one style, or between the two with what was asked for."""

    def __init__(self, style: str) -> None:
        painters: Sequence[Painter] = (paint, lambda scene, size: paint_in(style, scene, size))
        self._paint_styled = painters[1]
        self._templates = [
            (shape, np.fft.rfft2(_grey(painter(_scene(shape, radius=radius), 96))))
            for painter in painters
            for shape in SHAPES
            for radius in RADII
        ]
        self._inks, self._grounds = _palettes(painters)

    def compare(self, image: Image.Image, asked: Combination) -> Agreement:
        """In which points the image shows what was asked for."""
        pixels = _pixels(image)
        return Agreement(
            shape=self._shape(image) == asked.shape,
            colour=_is_nearest(self._inks, _ink(pixels), asked.colour),
            background=_is_nearest(self._grounds, _ground(pixels), asked.background),
        )

    def accuracy(self, combinations: Sequence[Combination]) -> float:
        """The share of painted pictures in the style that it finds right in every point."""
        rng = random.Random(21)
        painted = [(self._paint_styled(scene_of(c, rng), 128), c) for c in combinations]
        return float(np.mean([self.compare(image, c) == Agreement() for image, c in painted]))

    def _shape(self, image: Image.Image) -> str:
        spectrum = np.conj(np.fft.rfft2(_grey(image)))
        fits = [(float(np.fft.irfft2(template * spectrum).max()), shape) for shape, template in self._templates]
        return max(fits)[1]


def _scene(shape: str, *, colour: str = "white", background: str = "black", radius: float = 0.27) -> Scene:
    return Scene((Thing(shape, colour, 0.5, 0.5, radius),), (background,))


def _palettes(painters: Sequence[Painter]) -> tuple[list[tuple[str, Pixels]], list[tuple[str, Pixels]]]:
    """What each named colour looks like as an object and as a background."""
    inks, grounds = [], []
    for painter in painters:
        for name in COLOURS:
            other = "black" if name != "black" else "white"
            inks.append((name, _ink(_pixels(painter(_scene("square", colour=name, background=other), 128)))))
            grounds.append((name, _ground(_pixels(painter(_scene("square", colour=other, background=name), 128)))))
    return inks, grounds


def _pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"), dtype=np.float32)


def _ground(pixels: Pixels) -> Pixels:
    edges = (pixels[:BORDER], pixels[-BORDER:], pixels[:, :BORDER], pixels[:, -BORDER:])
    median: Pixels = np.median(np.concatenate([edge.reshape(-1, 3) for edge in edges]), axis=0)
    return median


def _contrast(pixels: Pixels) -> Pixels:
    contrast: Pixels = np.sqrt(np.square(pixels - _ground(pixels)).sum(axis=2))
    return contrast


def _threshold(contrast: Pixels) -> float:
    return max(LEAST_CONTRAST, 0.6 * float(np.percentile(contrast, 98)))


def _ink(pixels: Pixels) -> Pixels:
    contrast = _contrast(pixels)
    inside = contrast > _threshold(contrast)
    median: Pixels = np.median(pixels[inside], axis=0) if inside.any() else _ground(pixels)
    return median


def _grey(image: Image.Image) -> Pixels:
    """The image as contrast with its background, small, without colour, of zero mean and unit length."""
    contrast = _contrast(_pixels(image.resize((SIDE, SIDE), Image.Resampling.BOX)))
    limited = np.clip(contrast / max(LEAST_CONTRAST, float(np.percentile(contrast, 97))), 0, 1)
    centred = limited - limited.mean()
    grey: Pixels = centred / max(1e-6, float(np.linalg.norm(centred)))
    return grey


def _is_nearest(palette: Sequence[tuple[str, Pixels]], rgb: Pixels, name: str) -> bool:
    """Whether no other name is nearer; where a style gives all names one colour, each of them is."""
    distances = [(float(np.square(colour - rgb).sum()), each) for each, colour in palette]
    return min(d for d, each in distances if each == name) <= min(d for d, _ in distances)
