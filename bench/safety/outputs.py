"""Real outputs of the shipped model, for measurements that need many: made once, kept in a folder, resumed.

python -m bench.safety.outputs FOLDER --count 200
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.catalogue import load_catalogue
from engine import Engine, ImageRequest, PipelineSpec
from training.painter import painted_pair

FIRST_SEED = 7_000_000  # captions by the painter's grammar; training drew from lower seeds
AT_ONCE = 8


def caption_of(index: int) -> str:
    return painted_pair(FIRST_SEED + index)[1]


def make_outputs(folder: Path, count: int, prompt_of: Callable[[int], str] = caption_of) -> None:
    """Paint what is missing: image i of prompt i with seed i, at the model's own settings."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [index for index in range(count) if not _place(folder, index).exists()]
    if not missing:
        return
    model = load_catalogue(Path("catalogue.toml")).default_model
    spec = PipelineSpec(name=model.name, source=str(model.source.folder), family=model.family)
    with Engine({model.name: spec}, device="cpu", max_rows=2 * AT_ONCE) as engine:
        for start in range(0, len(missing), AT_ONCE):
            indices = missing[start : start + AT_ONCE]
            requests = [
                ImageRequest(
                    prompt=prompt_of(index),
                    negative_prompt="",
                    width=model.width,
                    height=model.height,
                    num_inference_steps=model.num_inference_steps,
                    guidance_scale=model.guidance_scale,
                    scheduler=model.scheduler,
                    seed=index,
                )
                for index in indices
            ]
            handles = [engine.submit(model.name, request) for request in requests]
            for index, handle in zip(indices, handles, strict=True):
                Image.fromarray(handle.future.result().pixels).save(_place(folder, index))


def read_outputs(folder: Path, count: int) -> Iterator[NDArray[np.uint8]]:
    for index in range(count):
        yield read_output(folder, index)


def read_output(folder: Path, index: int) -> NDArray[np.uint8]:
    with Image.open(_place(folder, index)) as image:
        return np.asarray(image.convert("RGB"))


def _place(folder: Path, index: int) -> Path:
    return folder / f"{index:05}.png"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make real outputs to measure on.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    chosen = parser.parse_args(arguments)
    make_outputs(chosen.folder, chosen.count)


if __name__ == "__main__":
    main()
