"""Images of the shipped model for the painter's captions: made once, kept in a folder, resumed.

Every second prompt asks for a star, so that no shape is rare; the seeds are such as no training drew from.

python -m bench.safety.generated FOLDER --count 600
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.safety.outputs import make_outputs, read_output
from training.captions import caption
from training.scenes import Landscape, Picture, sample_scene

FIRST_SEED = 9_000_000


def request(index: int) -> tuple[str, Picture]:
    """Prompt number `index`, and the scene that it asks for."""
    rng = random.Random(FIRST_SEED + index)
    while _has_star(picture := sample_scene(rng)) is not (index % 2 == 0):
        pass
    return caption(picture, rng), picture


def _has_star(picture: Picture) -> bool:
    return not isinstance(picture, Landscape) and any(thing.shape == "star" for thing in picture.things)


def make(folder: Path, count: int) -> None:
    """Make the images that are missing, image i with seed i, at the model's own settings."""
    make_outputs(folder, count, prompt_of=lambda index: request(index)[0])


def read(folder: Path, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
    """The images of these numbers."""
    return [read_output(folder, index) for index in indices]


def main() -> None:
    parser = argparse.ArgumentParser(description="Make images of the shipped model to measure checks on.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=600)
    chosen = parser.parse_args()
    make(chosen.folder, chosen.count)


if __name__ == "__main__":
    main()
