"""The painter: pictures show their scene, and the same number gives the same picture."""

from __future__ import annotations

import random

import numpy as np
import pytest

from training.captions import caption, plain_prompt
from training.dataset import PaintedPictures
from training.painter import SIZE, paint, painted_pair
from training.scenes import COLOURS, SHAPES, Combination, sample_scene, scene_of


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("colour", "background"), [("red", "blue"), ("white", "black"), ("pink", "green")])
def test_a_plain_picture_has_its_two_named_colours(shape: str, colour: str, background: str) -> None:
    picture = np.asarray(paint(scene_of(Combination(shape, colour, background), random.Random(1))))

    assert picture.shape == (SIZE, SIZE, 3)
    assert tuple(picture[2, 2]) == COLOURS[background]
    assert (picture == COLOURS[colour]).all(axis=2).mean() > 0.04


def test_the_plain_caption_says_what_is_painted() -> None:
    assert plain_prompt("circle", "red", "blue") == "a red circle on a blue background"
    assert plain_prompt("star", "orange", "orange") == "an orange star on an orange background"


def test_captions_name_every_thing_and_background() -> None:
    rng = random.Random(2)
    for _ in range(500):
        scene = sample_scene(rng)
        words = caption(scene, rng)

        for thing in getattr(scene, "things", ()):
            assert thing.shape in words
            assert thing.colour in words
        if hasattr(scene, "things"):
            assert all(colour in words for colour in scene.background)
        if scene.style != "flat":
            assert scene.style in words


def test_a_number_gives_the_same_picture_and_caption_every_time() -> None:
    first, again, other = painted_pair(7), painted_pair(7), painted_pair(8)

    assert first[1] == again[1]
    assert first[0].tobytes() == again[0].tobytes() != other[0].tobytes()


def test_a_batch_does_not_depend_on_where_it_starts() -> None:
    pictures = PaintedPictures(seed=3, size=16)

    whole, captions = pictures.batch(0, 6)
    tail, tail_captions = pictures.batch(4, 2)

    assert whole.shape == (6, 3, 16, 16)
    assert float(whole.abs().max()) <= 1.0
    assert bool((whole[4:] == tail).all())
    assert captions[4:] == tail_captions


def test_data_sets_of_different_seeds_differ() -> None:
    assert PaintedPictures(1).batch(0, 8)[1] != PaintedPictures(2).batch(0, 8)[1]
