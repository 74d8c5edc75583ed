"""Pictures of the same prompts and seeds at intervals of a training, side by side: what it has learnt, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from training.lora.base import Base


@dataclass(frozen=True)
class Validation:
    """Makes the pictures of one moment and keeps them by its step."""

    base: Base
    prompts: Sequence[str]
    folder: Path
    size: int
    steps: int = 25
    guidance: float = 3.0

    def paint(self, step: int) -> Path:
        """Write one strip with a picture of each prompt, and say where."""
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            images = [self._image(prompt, seed) for seed, prompt in enumerate(self.prompts)]
        strip = Image.new("RGB", (self.size * len(images), self.size))
        for place, image in enumerate(images):
            strip.paste(image, (place * self.size, 0))
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{step:06d}.png"
        strip.save(file)
        return file

    def _image(self, prompt: str, seed: int) -> Image.Image:
        image: Image.Image = self.base.pipeline(
            prompt,
            height=self.size,
            width=self.size,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]
        return image
