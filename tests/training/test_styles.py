"""Painted styles: each looks as its name says, beside the same scene painted flat, and its caption does not tell."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from bench.style_eye import StyleEye, looks_of
from training.painter import paint
from training.scenes import COLOURS, Landscape, Scene, Thing, sample_scene, seen_combinations
from training.styles import PAINTERS, paint_in, styled_pair


def _landscape(rng: random.Random) -> Landscape:
    while not isinstance(scene := sample_scene(rng), Landscape):
        pass
    return replace(scene, style="flat")


@pytest.mark.parametrize("style", PAINTERS)
def test_captions_do_not_name_the_style(style: str) -> None:
    captions = [styled_pair(style, seed, 8)[1] for seed in range(300)]

    assert not [caption for caption in captions if "style" in caption or style in caption]


def test_outlines_leave_the_inside_empty() -> None:
    scene = Scene((Thing("circle", "red", 0.5, 0.5, 0.3),), ("blue",))

    assert tuple(paint_in("outline", scene, 128).getpixel((64, 64))) == COLOURS["blue"]
    assert looks_of(paint_in("outline", scene, 128)).ink < 0.8 * looks_of(paint(scene, 128)).ink


def test_pastel_is_pale_and_neon_is_dark() -> None:
    rng = random.Random(4)
    scenes = [replace(sample_scene(rng), style="flat") for _ in range(10)]
    scenes.append(_landscape(rng))
    flat, pastel, neon = (
        [looks_of(image) for image in images]
        for images in (
            [paint(scene, 64) for scene in scenes],
            [paint_in("pastel", scene, 64) for scene in scenes],
            [paint_in("neon", scene, 64) for scene in scenes],
        )
    )

    assert all(p.saturation <= f.saturation and p.brightness >= f.brightness for p, f in zip(pastel, flat, strict=True))
    assert sum(n.brightness for n in neon) < 0.5 * sum(f.brightness for f in flat)


@pytest.mark.slow
@pytest.mark.parametrize("style", PAINTERS)
def test_the_eye_tells_what_is_painted_in_a_style(style: str) -> None:
    assert StyleEye(style).accuracy(seen_combinations()[:40]) >= 0.97
