"""Finds images that hold nothing: one flat colour, most often the black of a numerical overflow.

The score is the share of pixels within a small distance of the image's median colour. It is a check of quality, not of
content, so it reports under `custom` and a policy needs bars of its own for it.
"""

from __future__ import annotations

import numpy as np

from safety.subjects import ImageSubject
from safety.verdict import Category, Finding, Stage

_SAME = 4  # largest difference in any channel, of 255, at which a pixel counts as the same colour


class BlankCheck:
    """Scores how much of an image is one flat colour."""

    name = "image_blank"
    stage = Stage.IMAGE

    def run(self, subject: ImageSubject) -> list[Finding]:
        pixels = subject.pixels.astype(np.int16)  # (h, w, 3)
        distance = np.abs(pixels - np.median(pixels, axis=(0, 1))).max(axis=2)  # (h, w)
        return [Finding(Category.custom, float((distance <= _SAME).mean()), self.name)]
