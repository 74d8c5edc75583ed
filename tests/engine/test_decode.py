"""Decoding in pieces: the same pixels, and room for others between them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.errors import GenerationFailed
from engine.decode import MOST_PIECES, Decoding, Turn, decode, go_on
from tests.engine.conftest import MakeEngine
from tests.engine.factories import Notes, make_request


@pytest.fixture
def pipeline(make_engine: MakeEngine) -> Any:
    return make_engine()._family("tiny").pipeline


def decoding(pipeline: Any, latents: torch.Tensor) -> Decoding:
    return decode(latents, vae=pipeline.vae, image_processor=pipeline.image_processor)


def in_one_go(pipeline: Any, latents: torch.Tensor) -> np.ndarray:
    image = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
    unit = pipeline.image_processor.postprocess(image, output_type="np")
    pixels: np.ndarray = (unit * 255).round().astype(np.uint8)
    return pixels


@torch.inference_mode()
def test_pieces_make_the_pixels_of_one_go(pipeline: Any) -> None:
    latents = torch.randn(1, 4, 8, 4)

    pieces, pixels = 0, None
    running = decoding(pipeline, latents)
    while pixels is None:
        pixels = go_on(running, Turn(pieces=1))
        pieces += 1

    assert np.array_equal(pixels, in_one_go(pipeline, latents))
    assert pieces > 8


@torch.inference_mode()
def test_a_turn_ends_by_pieces_or_by_time_and_takes_one_piece_at_least(pipeline: Any) -> None:
    latents = torch.randn(1, 4, 8, 8)
    taken: list[str] = []
    for name, module in pipeline.vae.decoder.named_modules():
        if name.endswith(("resnets.0", "resnets.1", "mid_block")) and "mid_block." not in name:
            module.register_forward_hook(lambda *_, name=name: taken.append(name))

    assert go_on(decoding(pipeline, latents), Turn(seconds=0)) is None
    assert taken == ["mid_block"]
    assert go_on(decoding(pipeline, latents), Turn(pieces=2)) is None
    assert taken == ["mid_block", "mid_block", "up_blocks.0.resnets.0"]
    assert go_on(decoding(pipeline, latents), Turn()) is not None


@torch.inference_mode()
def test_a_vae_that_tiles_or_is_moved_is_called_as_a_whole(pipeline: Any) -> None:
    latents = torch.randn(1, 4, 16, 16)
    pipeline.vae.enable_tiling()
    tiled = go_on(decoding(pipeline, latents), Turn(pieces=1))
    assert tiled is not None
    assert np.array_equal(tiled, in_one_go(pipeline, latents))

    pipeline.vae.disable_tiling()
    calls: list[object] = []
    pipeline.vae.decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    assert go_on(decoding(pipeline, latents), Turn(pieces=1)) is not None
    assert calls == [1]


@torch.inference_mode()
def test_latents_that_are_not_finite_make_no_image(pipeline: Any) -> None:
    with pytest.raises(GenerationFailed, match="overflowed"):
        go_on(decoding(pipeline, torch.full((1, 4, 8, 8), float("inf"))), Turn())


def test_others_take_steps_while_an_image_is_decoded(make_engine: MakeEngine) -> None:
    engine = make_engine(observer=(notes := Notes()))
    pipeline = engine._family("tiny").pipeline
    at: list[int] = []
    for block in pipeline.vae.decoder.up_blocks:
        block.resnets[0].register_forward_hook(lambda *_: at.append(len(notes.steps)))
    short = engine.submit("tiny", make_request(num_inference_steps=1))
    long = engine.submit("tiny", make_request(num_inference_steps=30))

    engine.start()
    short.future.result(timeout=60)
    first = list(at)
    long.future.result(timeout=60)

    assert len(set(first)) > 1, "steps were taken between its pieces"
    assert all(later - earlier <= 1 for earlier, later in pairwise(first)), "and each step is followed by a piece"
    assert max(first.count(step) for step in first) <= MOST_PIECES


def test_nobody_is_admitted_while_the_vae_is_behind(make_engine: MakeEngine) -> None:
    engine = make_engine(max_rows=2)
    most: list[int] = []
    handles = [
        engine.submit(
            "tiny",
            make_request(num_inference_steps=1, seed=seed),
            on_step=lambda *_: most.append(engine.stats().denoised),
        )
        for seed in range(12)
    ]

    engine.start()
    for handle in handles:
        handle.future.result(timeout=60)

    assert max(most) <= 2
