"""The judge: colours by name, shapes by a network that saw painted pictures alone."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch
from PIL import Image

from training.judge import Judge, ShapeNet, load_judge, train
from training.painter import paint
from training.scenes import COLOURS, SHAPES, Combination, held_out_combinations, scene_of

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_judge(BENCH)


def test_it_tells_nearly_every_painted_shape(judge: Judge) -> None:
    assert judge.accuracy(worn=False, count=200) >= 0.98
    assert judge.accuracy(worn=True, count=200) >= 0.95


def test_it_names_both_colours_of_painted_pictures(judge: Judge) -> None:
    rng = random.Random(6)
    asked = rng.sample(held_out_combinations(), 60)

    sights = [judge.see(paint(scene_of(combination, rng))) for combination in asked]

    assert [(sight.colour, sight.background) for sight in sights] == [(c.colour, c.background) for c in asked]


def test_an_empty_picture_has_no_object(judge: Judge) -> None:
    sight = judge.see(Image.new("RGB", (128, 128), COLOURS["green"]))

    assert (sight.shape, sight.colour, sight.background) == (None, None, "green")


def test_its_network_learns_from_painted_pictures() -> None:
    torch.manual_seed(3)

    assert train(ShapeNet(), 3, steps=40) < 0.8 * math.log(len(SHAPES))  # guessing costs log(shapes)


def test_a_wrong_picture_is_told_from_the_right_one(judge: Judge) -> None:
    picture = paint(scene_of(Combination("star", "yellow", "black"), random.Random(1)))

    assert judge.see(picture).shape == "star"
    assert judge.see(picture).shape != "square"
