"""Looks at an image of one object and says its shape, its colour and its background's colour.

Colours are the named ones nearest to robust medians: of the picture's border, and of what differs from it. Shapes
are told by a small network trained on painted pictures alone, seen as distance from the background, so that it
cannot know colours. Made for one object inside a plain background; it says nothing about other scenes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from training.painter import paint
from training.scenes import COLOURS, SHAPES, Combination, Scene, held_out_combinations, place_thing, scene_of

SIDE = 48
BORDER = 6
DIFFERENT = 45.0
LEAST_SHARE = 0.008
STEPS, BATCH, RATE = 900, 48, 3e-3
PALETTE = np.array(list(COLOURS.values()), dtype=np.float32)
NAMES = tuple(COLOURS)
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sight:
    """What the judge sees; a picture without an object has neither shape nor colour."""

    shape: str | None
    colour: str | None
    background: str


def _pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"), dtype=np.float32)


def _border(pixels: Pixels) -> Pixels:
    edges = (pixels[:BORDER], pixels[-BORDER:], pixels[:, :BORDER], pixels[:, -BORDER:])
    median: Pixels = np.median(np.concatenate([e.reshape(-1, 3) for e in edges]), axis=0).astype(np.float32)
    return median


def _nearest(rgb: Pixels) -> str:
    return NAMES[int(np.square(PALETTE - rgb).sum(axis=1).argmin())]


def _distance(pixels: Pixels, background: Pixels) -> Pixels:
    distance: Pixels = np.sqrt(np.square(pixels - background).sum(axis=2))
    return distance


def _grey(image: Image.Image) -> Pixels:
    """The image as distance from its background, 0 to 1, small and without colour."""
    pixels = _pixels(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    distance = _distance(pixels, _border(pixels))
    grey: Pixels = np.clip(distance / max(DIFFERENT, float(np.percentile(distance, 97))), 0, 1).astype(np.float32)
    return grey


class ShapeNet(nn.Module):
    """A small convolutional classifier of shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * (SIDE // 8) ** 2, 64), nn.ReLU(), nn.Linear(64, len(SHAPES)),
        )  # fmt: skip

    def forward(self, greys: Tensor) -> Tensor:
        """Scores of the shapes for greys of shape (n, 1, side, side)."""
        scores: Tensor = self.layers(greys)
        return scores


def _worn(image: Image.Image, rng: random.Random) -> Image.Image:
    """A painted picture a little turned, stretched, blurred and noisy, as a model may draw it."""
    side = image.width
    fill = image.getpixel((1, 1))
    turned = image.rotate(rng.uniform(-7, 7), Image.Resampling.BILINEAR, fillcolor=fill)
    stretched = turned.resize((round(side * rng.uniform(0.88, 1.12)), round(side * rng.uniform(0.88, 1.12))))
    canvas = Image.new("RGB", (side, side), fill)
    canvas.paste(stretched, ((side - stretched.width) // 2, (side - stretched.height) // 2))
    blurred = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2.2)))
    noise = np.random.default_rng(rng.randrange(1 << 30)).normal(0, rng.uniform(0, 18), (side, side, 3))
    return Image.fromarray(np.clip(_pixels(blurred) + noise, 0, 255).astype(np.uint8))


def _example(rng: random.Random) -> tuple[Image.Image, int]:
    shape = rng.randrange(len(SHAPES))
    colour, background = rng.sample(NAMES, 2)
    size = rng.choices(("small", "medium", "large"), (2, 7, 2))[0]
    thing = place_thing(rng, SHAPES[shape], colour, size=size)  # type: ignore[arg-type]
    return _worn(paint(Scene((thing,), (background,)), 96), rng), shape


def train(net: ShapeNet, seed: int, *, steps: int = STEPS) -> float:
    """Train on painted pictures; the last batch's loss."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in trange(steps, desc="judge", mininterval=5.0):
        examples = [_example(rng) for _ in range(BATCH)]
        greys = torch.from_numpy(np.stack([_grey(image) for image, _ in examples]))[:, None]
        loss = F.cross_entropy(net(greys), torch.tensor([shape for _, shape in examples]))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        rates.step()
    return float(loss.detach())


class Judge:
    """Judges images of one object on a plain background."""

    def __init__(self, net: ShapeNet) -> None:
        self._net = net.eval()

    @torch.inference_mode()
    def see(self, image: Image.Image) -> Sight:
        """What the image shows."""
        pixels = _pixels(image)
        border = _border(pixels)
        distance = _distance(pixels, border)
        inside = distance > max(DIFFERENT, 0.6 * float(np.percentile(distance, 99)))
        if inside.mean() < LEAST_SHARE:
            return Sight(None, None, _nearest(border))
        colour = np.median(pixels[inside], axis=0).astype(np.float32)
        scores = self._net(torch.from_numpy(_grey(image))[None, None])
        return Sight(SHAPES[int(scores.argmax())], _nearest(colour), _nearest(border))

    def accuracy(self, *, worn: bool, count: int = 400, seed: int = 99) -> float:
        """The share of painted held-out combinations whose shape it tells, as painted or worn."""
        rng = random.Random(seed)
        combinations: list[Combination] = rng.choices(held_out_combinations(), k=count)
        right = 0
        for combination in combinations:
            image = paint(scene_of(combination, rng))
            right += self.see(_worn(image, rng) if worn else image).shape == combination.shape
        return right / count


def load_judge(folder: Path, *, seed: int = 11) -> Judge:
    """The judge whose network the folder holds; trained first, some minutes, where it holds none."""
    path, net = folder / "judge.safetensors", ShapeNet()
    if path.exists():
        net.load_state_dict(load_file(path))
        return Judge(net)
    train(net, seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), path)
    return Judge(net)
