"""A picture's looks in 64 bits, which re-encoding and resizing hardly change: the perceptual hash of its DCT.

The picture becomes 32x32 grey; the signs of its 8x8 lowest waves against their median are the bits (Zauner 2010). Two
pictures are compared by the number of bits that differ. Plain pictures of the same kind may well be close.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, WAVES = 32, 8
FLAT = 2.0  # deviation of the small grey picture below which there is nothing to tell pictures apart by


def looks_of(pixels: NDArray[np.uint8]) -> int | None:
    """The hash of (height, width, 3) 8-bit RGB; None for a flat picture."""
    small = np.asarray(Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR), float)
    if small.std() < FLAT:
        return None
    angles = np.pi * (2 * np.arange(SIDE) + 1) / (2 * SIDE)
    waves = np.cos(np.arange(WAVES)[:, None] * angles)
    found = (waves @ small @ waves.T).ravel()
    found[0] = 0  # the mean brightness says nothing of what is shown
    return int("".join("1" if above else "0" for above in found > np.median(found)), 2)


def distance(looks: int, other: int) -> int:
    """How many of the 64 bits differ."""
    return (looks ^ other).bit_count()
