"""Painted pictures and their captions as training batches: the same numbers give the same pictures, in any order.

Each picture is painted from its own seed when it is needed, so nothing has to lie on disk. Knows nothing about what
learns from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from training.painter import SIZE, painted_pair

SEED_STRIDE = 1_000_000_007


@dataclass(frozen=True)
class PaintedPictures:
    """An endless, deterministic data set of (picture, caption); data sets of different seeds share no picture."""

    seed: int
    size: int = SIZE

    def caption(self, index: int) -> str:
        """Caption of picture `index`."""
        return painted_pair(self.seed * SEED_STRIDE + index, 8)[1]

    def batch(self, start: int, count: int) -> tuple[torch.Tensor, list[str]]:
        """Pictures start .. start+count as (count, 3, size, size) floats in [-1, 1], and their captions."""
        pairs = [painted_pair(self.seed * SEED_STRIDE + index, self.size) for index in range(start, start + count)]
        pictures = torch.from_numpy(np.stack([np.asarray(picture) for picture, _ in pairs]))  # (count, size, size, 3)
        return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0, [words for _, words in pairs]
