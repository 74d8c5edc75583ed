"""What the shipped style LoRAs do: how images look, and whether they still show what was asked for.

Plain prompts that name no style go through plain diffusers, the same seeds at every scale; `bench.style_eye` looks.
Scale 0 must give the base's images bit for bit.

    python -m bench.styles        # writes bench/styles.md, .json and docs/images/styles.png; some minutes on two cores
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image, ImageDraw, ImageFont

from bench.style_eye import StyleEye, looks_of
from darkroom.catalogue import AdapterSpec, Catalogue, load_catalogue
from training.captions import plain_prompt
from training.scenes import Combination, seen_combinations
from training.styles import PAINTERS

SCALES = (0.0, 0.5, 1.0)
BATCH = 25
SHOWN = 6  # prompts in the picture
SIDE, MARGIN, LABEL = 128, 8, 78

PAGE = """\
# The style LoRAs of {model}

{images} plain prompts ("{example}") that name no style, seeds 0, 1, 2, ..., {steps} steps, guidance {guidance:g}, by
plain diffusers, fp32. Edges: share of pixels at an edge. Saturation and brightness: means, 0 to 1. Ink: share of pixels
that are not background. Colour, background and shape: share of images that show what was asked for; the eye takes the
flat and the styled look of each for right, and finds {sure} of painted pictures in these styles right. Neon's
background is dark whatever colour was asked for.
Measured {date} on {machine}, torch {torch}.

| LoRA | scale | edges | saturation | brightness | ink | colour | background | shape | equal to the base |
|---|---|---|---|---|---|---|---|---|---|
{rows}
"""


@dataclass(frozen=True)
class Effect:
    """What one LoRA at one scale made of all prompts."""

    edges: float
    saturation: float
    brightness: float
    ink: float
    colour: float
    background: float
    shape: float
    same: float  # share of images that equal the base's in every bit

    @property
    def row(self) -> str:
        looks = f"{self.edges:.3f} | {self.saturation:.3f} | {self.brightness:.3f} | {self.ink:.3f}"
        return f"{looks} | {self.colour:.0%} | {self.background:.0%} | {self.shape:.0%} | {self.same:.0%}"


class Studio:
    """Makes the same prompts' images again and again, with and without a LoRA."""

    def __init__(self, catalogue: Catalogue, combinations: Sequence[Combination]) -> None:
        self._model = catalogue.default_model
        self._pipeline: Any = StableDiffusionPipeline.from_pretrained(self._model.source.folder, dtype=torch.float32)
        self._pipeline.scheduler = DPMSolverMultistepScheduler.from_config(self._pipeline.scheduler.config)
        self._pipeline.set_progress_bar_config(disable=True)
        self.combinations = combinations

    def paint(self) -> list[Image.Image]:
        """One image of each combination, with whatever LoRA is loaded."""
        images: list[Image.Image] = []
        prompts = [plain_prompt(*combination) for combination in self.combinations]
        for start in range(0, len(prompts), BATCH):
            part = prompts[start : start + BATCH]
            seeds = [torch.Generator().manual_seed(start + place) for place in range(len(part))]
            images += self._pipeline(
                part,
                width=self._model.width,
                height=self._model.height,
                num_inference_steps=self._model.num_inference_steps,
                guidance_scale=self._model.guidance_scale,
                generator=seeds,
            ).images
        return images

    def paint_with(self, adapter: AdapterSpec) -> dict[float, list[Image.Image]]:
        """The images at every scale of one LoRA."""
        self._pipeline.load_lora_weights(adapter.file.parent, weight_name=adapter.file.name, adapter_name=adapter.name)
        images = {}
        for scale in SCALES:
            self._pipeline.set_adapters([adapter.name], [scale])
            images[scale] = self.paint()
        self._pipeline.unload_lora_weights()
        return images

    def effect(self, images: Sequence[Image.Image], base: Sequence[Image.Image], eye: StyleEye) -> Effect:
        """What the images show, beside the base's."""
        looks = [looks_of(image) for image in images]
        found = [eye.compare(image, asked) for asked, image in zip(self.combinations, images, strict=True)]
        pairs = zip(images, base, strict=True)
        return Effect(
            **{name: float(np.mean([getattr(look, name) for look in looks])) for name in vars(looks[0])},
            colour=_share([each.colour for each in found]),
            background=_share([each.background for each in found]),
            shape=_share([each.shape for each in found]),
            same=_share([image.tobytes() == other.tobytes() for image, other in pairs]),
        )


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


def main() -> None:
    """Measure all and write the page, the figures and the picture."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    catalogue = load_catalogue(arguments.catalogue)
    adapters = [spec for name, spec in catalogue.adapters.items() if name in PAINTERS]
    combinations = seen_combinations()[: arguments.prompts]
    studio = Studio(catalogue, combinations)
    base = studio.paint()
    eyes = {spec.name: StyleEye(spec.name) for spec in adapters}
    images = {spec.name: studio.paint_with(spec) for spec in adapters}
    effects = {
        name: {scale: studio.effect(made, base, eyes[name]) for scale, made in by_scale.items()}
        for name, by_scale in images.items()
    }
    rows = [
        f"| {name} | {scale:g} | {effect.row} |"
        for name, by_scale in effects.items()
        for scale, effect in by_scale.items()
    ]
    print("\n".join(rows))
    model = catalogue.default_model
    page = PAGE.format(
        model=model.name,
        images=len(combinations),
        example=plain_prompt(*combinations[0]),
        steps=model.num_inference_steps,
        guidance=model.guidance_scale,
        sure=", ".join(f"{eye.accuracy(combinations):.0%}" for eye in eyes.values()),
        date=datetime.now(UTC).date(),
        machine=f"{platform.machine()}, {platform.system()}",
        torch=torch.__version__,
        rows="\n".join(rows),
    )
    arguments.out.with_suffix(".md").write_text(page, encoding="utf-8")
    figures = {name: {f"{s:g}": asdict(e) for s, e in by_scale.items()} for name, by_scale in effects.items()}
    arguments.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    shown = {"base": base, **{name: by_scale[1.0] for name, by_scale in images.items()}}
    _lay_out(shown).save(arguments.picture, optimize=True)


def _lay_out(rows: dict[str, list[Image.Image]]) -> Image.Image:
    """One row for each LoRA, one column for each of the first prompts."""
    step = SIDE + MARGIN
    sheet = Image.new("RGB", (LABEL + SHOWN * step, MARGIN + len(rows) * step), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for line, (name, images) in enumerate(rows.items()):
        y = MARGIN + line * step
        draw.text((MARGIN, y + SIDE // 2 - 8), name, fill="#333333", font=font)
        for column, image in enumerate(images[:SHOWN]):
            sheet.paste(image, (LABEL + column * step, y))
    return sheet


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what the shipped style LoRAs do.")
    parser.add_argument("--catalogue", type=Path, default=Path("catalogue.toml"))
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("bench/styles"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/styles.png"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
