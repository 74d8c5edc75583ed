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
from PIL import Image

from darkroom.catalogue import load_catalogue
from engine import Engine, ImageRequest, PipelineSpec
from training.captions import caption
from training.scenes import Landscape, Picture, sample_scene

FIRST_SEED = 9_000_000
AT_ONCE = 8


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
    folder.mkdir(parents=True, exist_ok=True)
    missing = [index for index in range(count) if not _place(folder, index).exists()]
    model = load_catalogue(Path("catalogue.toml")).default_model
    spec = PipelineSpec(name=model.name, source=str(model.source.folder), family=model.family)
    with Engine({model.name: spec}, device="cpu", max_rows=2 * AT_ONCE) as engine:
        for start in range(0, len(missing), AT_ONCE):
            indices = missing[start : start + AT_ONCE]
            handles = [
                engine.submit(
                    model.name,
                    ImageRequest(
                        prompt=request(index)[0],
                        negative_prompt="",
                        width=model.width,
                        height=model.height,
                        num_inference_steps=model.num_inference_steps,
                        guidance_scale=model.guidance_scale,
                        scheduler=model.scheduler,
                        seed=index,
                    ),
                )
                for index in indices
            ]
            for index, handle in zip(indices, handles, strict=True):
                Image.fromarray(handle.future.result().pixels).save(_place(folder, index))


def read(folder: Path, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
    """The images of these numbers."""
    pixels = []
    for index in indices:
        with Image.open(_place(folder, index)) as image:
            pixels.append(np.asarray(image.convert("RGB")))
    return pixels


def _place(folder: Path, index: int) -> Path:
    return folder / f"{index:05}.png"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make images of the shipped model to measure checks on.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=600)
    chosen = parser.parse_args()
    make(chosen.folder, chosen.count)


if __name__ == "__main__":
    main()
