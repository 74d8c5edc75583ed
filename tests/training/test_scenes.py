"""Scenes: what may be painted for training, and what is held out of it."""

from __future__ import annotations

import random

from training.scenes import (
    COLOURS,
    HELD_OUT,
    SHAPES,
    STYLES,
    Landscape,
    Scene,
    all_combinations,
    combinations_of,
    held_out_combinations,
    sample_scene,
    seen_combinations,
)


def test_there_are_enough_shapes_colours_and_styles() -> None:
    assert len(SHAPES) >= 6
    assert len(COLOURS) >= 9
    assert len(STYLES) == 3


def test_no_training_scene_shows_a_held_out_combination() -> None:
    rng = random.Random(4)

    shown = {combination for _ in range(20_000) for combination in combinations_of(sample_scene(rng))}

    assert shown.isdisjoint(HELD_OUT)
    assert len(shown) > 0.9 * len(seen_combinations())


def test_held_out_and_seen_share_nothing_and_leave_nothing_out() -> None:
    assert set(held_out_combinations()).isdisjoint(seen_combinations())
    assert set(held_out_combinations()) | set(seen_combinations()) == set(all_combinations())
    assert len(held_out_combinations()) >= 200
    assert len(seen_combinations()) >= 400


def test_every_shape_colour_and_background_is_learnt_somewhere() -> None:
    seen = seen_combinations()

    assert {c.shape for c in seen} == set(SHAPES)
    assert {c.colour for c in seen} == {c.background for c in seen} == set(COLOURS)
    assert {(c.shape, c.colour) for c in seen} == {(s, c) for s in SHAPES for c in COLOURS}


def test_training_draws_every_kind_of_scene() -> None:
    rng = random.Random(5)
    scenes = [sample_scene(rng) for _ in range(2_000)]

    flat = [scene for scene in scenes if isinstance(scene, Scene)]
    assert any(isinstance(scene, Landscape) for scene in scenes)
    assert any(len(scene.things) == 2 for scene in flat)
    assert any(len(scene.background) == 2 for scene in flat)
    assert {scene.style for scene in flat} == set(STYLES)
    assert {thing.size for scene in flat for thing in scene.things} == {"small", "medium", "large"}
