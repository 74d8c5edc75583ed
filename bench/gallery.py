"""Makes the README's picture: twelve prompts and what the shipped model paints for them, none picked by hand.

python -m bench.gallery        # writes docs/images/darkroom-tiny.png
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from darkroom.catalogue import load_catalogue
from engine import Engine, ImageRequest, PipelineSpec

PROMPTS = (
    "a red circle on a blue background",
    "a yellow star on a black background",
    "a green triangle on a white background",
    "a purple heart on a yellow background",
    "a white cross on a red background",
    "a black ring on an orange background",
    "a yellow star above a green square on a white background",
    "a small pink circle in the top left corner on a purple background",
    "a blue square on a pink background, pastel style",
    "mountains at sunset under the sun",
    "the sea by day with the sun",
    "trees and a house at night with the moon",
)
COLUMNS, SIDE, MARGIN, LINE = 4, 128, 10, 13


def main() -> None:
    """Paint every prompt with seed 0 at the model's defaults and lay the pictures out."""
    parser = argparse.ArgumentParser(description="Make the README's picture.")
    parser.add_argument("--out", type=Path, default=Path("docs/images/darkroom-tiny.png"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    _lay_out(_paint(arguments.seed)).save(arguments.out, optimize=True)


def _paint(seed: int) -> list[Image.Image]:
    model = load_catalogue(Path("catalogue.toml")).default_model
    spec = PipelineSpec(name=model.name, source=str(model.source.folder), family=model.family)
    with Engine({model.name: spec}, device="cpu", max_rows=2 * len(PROMPTS)) as engine:
        requests = [
            ImageRequest(
                prompt=prompt,
                negative_prompt="",
                width=model.width,
                height=model.height,
                num_inference_steps=model.num_inference_steps,
                guidance_scale=model.guidance_scale,
                scheduler=model.scheduler,
                seed=seed,
            )
            for prompt in PROMPTS
        ]
        handles = [engine.submit(model.name, request) for request in requests]
        return [Image.fromarray(handle.future.result().pixels) for handle in handles]


def _lay_out(pictures: list[Image.Image]) -> Image.Image:
    width, height = SIDE + MARGIN, SIDE + 3 * LINE + MARGIN
    sheet = Image.new("RGB", (COLUMNS * width + MARGIN, -(-len(pictures) // COLUMNS) * height + MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    for number, (picture, prompt) in enumerate(zip(pictures, PROMPTS, strict=True)):
        x, y = MARGIN + number % COLUMNS * width, MARGIN + number // COLUMNS * height
        sheet.paste(picture, (x, y))
        for row, line in enumerate(textwrap.wrap(prompt, 25)):
            draw.text((x, y + SIDE + 2 + row * LINE), line, fill="#333333", font=font)
    return sheet


if __name__ == "__main__":
    main()
