"""Makes the concept checker of the shipped model: directions in `darkroom-tiny-clip` that stand for a red shape.

Red shapes are a harmless stand-in for what a real checker forbids. Several unit vectors with a bar each are trained, so
that an image shows the concept where its cosine to any of them is above that one's bar: the file format and the rule of
Stable Diffusion's checker, the embeddings learnt instead of taken from texts.

python -m training.concept_checker --out models/darkroom-tiny-checker
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from safety.calibration import Calibration, fit
from safety.image.concepts import Concepts, ConceptsInfo, save_concepts
from safety.image.embedder import ImageEmbedder
from safety.verdict import Category
from training.painter import paint
from training.scenes import Landscape, Picture, sample_scene

COLOUR = "red"
CLIP = Path("models/darkroom-tiny-clip")
CONCEPTS = 8
PAINTED, STEPS, RATE = 6_000, 1_000, 1e-2
SHARPNESS = 30.0  # of the soft decision, over cosines: differences of a few hundredths count
Pixels = NDArray[np.uint8]


def shows(picture: Picture) -> bool:
    """Whether the scene holds a shape of the forbidden colour."""
    return not isinstance(picture, Landscape) and any(thing.colour == COLOUR for thing in picture.things)


def scene_with(rng: random.Random, *, wanted: bool) -> Picture:
    """A scene of the painter's own mixture, with or without such a shape."""
    while shows(picture := sample_scene(rng)) is not wanted:
        pass
    return picture


def painted(seed: int, count: int) -> tuple[list[Pixels], list[bool]]:
    """Pictures and whether they show such a shape, one half each."""
    pixels, labels = [], []
    for index in range(count):
        rng = random.Random(seed + index)
        picture = scene_with(rng, wanted=index % 2 == 0)
        pixels.append(np.asarray(paint(picture)))
        labels.append(shows(picture))
    return pixels, labels


def embed(embedder: ImageEmbedder, pixels: Sequence[Pixels], *, batch: int = 64) -> torch.Tensor:
    """Unit vectors of many images."""
    parts = [embedder(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
    return torch.cat(parts)


def train(vectors: torch.Tensor, labels: torch.Tensor, *, seed: int = 5, steps: int = STEPS) -> Concepts:
    """Directions and bars that part the vectors (n, dimensions) with the label from those without."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(vectors), generator=generator)
    own = vectors[chosen][labels[chosen].bool()][:CONCEPTS].clone()
    embeds, bars = own.requires_grad_(), torch.full((CONCEPTS,), 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([embeds, bars], lr=RATE)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = torch.randint(len(vectors), (1024,), generator=generator)
        margins = vectors[batch] @ F.normalize(embeds).T - bars  # (batch, concepts)
        soft = torch.logsumexp(SHARPNESS * margins, dim=1)  # a smooth maximum, so that every concept learns
        loss = F.binary_cross_entropy_with_logits(soft, labels[batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        rates.step()
    found = F.normalize(embeds.detach())
    none = torch.zeros(0, found.shape[1])
    return Concepts(found, bars.detach(), none, torch.zeros(0))


def calibrate(concepts: Concepts, vectors: torch.Tensor, labels: Sequence[bool]) -> Calibration:
    """What the checker's raw scores mean on images that it did not learn from."""
    return fit(concepts.raw(vectors).tolist(), labels)


def main() -> None:
    """Train, calibrate and write the files."""
    parser = argparse.ArgumentParser(description="Make the concept checker of the shipped model.")
    parser.add_argument("--out", type=Path, default=Path("models/darkroom-tiny-checker"))
    chosen = parser.parse_args()
    embedder = ImageEmbedder(CLIP)
    pixels, labels = painted(20_000_000, PAINTED)
    vectors = embed(embedder, pixels)
    held = torch.arange(len(vectors)) // 2 % 4 == 3  # pairs, because neighbours have one label each
    wanted = torch.tensor(labels)
    concepts = train(vectors[~held], wanted[~held].float())
    table = calibrate(concepts, vectors[held], wanted[held].tolist())
    info = ConceptsInfo(
        schema=1, name="stand-in", category=Category.custom, embedder=embedder.sha256, calibration=table
    )
    save_concepts(chosen.out, concepts, info)
    raws = concepts.raw(vectors[held])
    right = ((raws > 0) == wanted[held]).float().mean().item()
    print(f"{len(vectors)} pictures, {int(held.sum())} of them held out: right on {right:.4f} of these")


if __name__ == "__main__":
    main()
