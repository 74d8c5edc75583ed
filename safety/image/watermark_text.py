"""Finds visible watermarks: texts and logos laid over an image.

What sees them is a detector passed in: pixels to one raw score. The shipped one looks at windows of 128 pixels, of the
whole image made small and of the image as it is, and the strongest window counts. Reads no text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from safety.calibration import Calibration
from safety.image.overlay_net import SIDE, load_overlay_net, tensor_of
from safety.subjects import ImageSubject
from safety.verdict import Category, Finding, Stage


class Detector(Protocol):
    """What sees overlays; a stronger one needs no more than this."""

    def __call__(self, pixels: NDArray[np.uint8]) -> float:
        """A raw score that rises with the certainty that pixels (height, width, 3) bear an overlay."""
        ...


class WatermarkTextCheck:
    """One detector and what its raw scores mean."""

    name = "image_watermark"
    stage = Stage.IMAGE

    def __init__(self, detector: Detector, calibration: Calibration) -> None:
        self._detector = detector
        self._calibration = calibration

    def run(self, subject: ImageSubject) -> list[Finding]:
        raw = self._detector(subject.pixels)
        return [Finding(Category.watermark, self._calibration(raw), self.name)]


def load_watermark_check(folder: Path) -> WatermarkTextCheck:
    """The check with the detector of a folder.

    Raises:
        ConfigurationError: the folder holds none.
    """
    net, info = load_overlay_net(folder)

    @torch.inference_mode()
    def detector(pixels: NDArray[np.uint8]) -> float:
        return float(net(torch.cat([tensor_of(window) for window in windows(pixels)])).max())

    return WatermarkTextCheck(detector, info.calibration)


def windows(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Squares of 128 pixels: the whole image, and where it is larger its parts as they are."""
    height, width = pixels.shape[:2]
    yield np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    if height < SIDE or width < SIDE or (height, width) == (SIDE, SIDE):
        return
    for top in _starts(height):
        for left in _starts(width):
            yield pixels[top : top + SIDE, left : left + SIDE]


def _starts(length: int) -> list[int]:
    """Where windows begin that cover a side with no gap and little overlap."""
    count = -(-length // SIDE)
    return [round(index * (length - SIDE) / max(1, count - 1)) for index in range(count)]
