"""The programs that make the shipped checkers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn.functional import normalize

from training.concept_checker import calibrate, painted, scene_with, shows, train
from training.watermark_detector import MARKS, overlaid, pictures


def test_concepts_learn_to_part_vectors_and_their_raw_scores_are_calibrated() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(400) % 2 == 0
    vectors = torch.randn(400, 16, generator=generator)
    vectors[:, 0] = torch.where(labels, 2.0, -2.0)
    vectors = normalize(vectors)

    concepts = train(vectors[:200], labels[:200].float(), steps=200)
    table = calibrate(concepts, vectors[200:], labels[200:].tolist())

    raws = concepts.raw(vectors[200:])
    assert ((raws > 0) == labels[200:]).float().mean() > 0.95
    assert table(raws[labels[200:]].mean().item()) > 0.8 > 0.2 > table(raws[~labels[200:]].mean().item())


def test_scenes_are_drawn_with_and_without_the_stand_in() -> None:
    rng = random.Random(2)

    assert all(shows(scene_with(rng, wanted=True)) for _ in range(5))
    assert not any(shows(scene_with(rng, wanted=False)) for _ in range(5))
    assert painted(3, 4)[1] == [True, False, True, False]


def test_overlays_can_be_seen_and_leave_most_of_a_picture_alone() -> None:
    rng, (plain,) = random.Random(4), pictures(5, 1)

    changed = [(np.abs(overlaid(plain, rng).astype(int) - plain).max(axis=2) > 24).mean() for _ in range(40)]

    assert min(changed) > 0.004
    assert np.median(changed) < 0.3


@pytest.mark.parametrize("mark", sorted(set(MARKS), key=lambda mark: mark.__name__))
def test_every_kind_of_overlay_draws_something(mark: object) -> None:
    layer = Image.new("L", (256, 256))
    mark(ImageDraw.Draw(layer), 128, random.Random(6))  # type: ignore[operator]

    assert layer.getextrema()[1] == 255
