"""Small images that are done at the same time are decoded in one call, and each is still its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.errors import GenerationFailed
from engine import Engine, GeneratedImage
from engine.decode_together import MOST_TOGETHER
from tests.engine.conftest import MakeEngine
from tests.engine.factories import make_request


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    return make_engine()


@pytest.fixture
def calls(engine: Engine) -> Iterator[list[int]]:
    """How many images each call of the decoder was for."""
    seen: list[int] = []
    hook = decoder(engine).conv_in.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    yield seen
    hook.remove()


def decoder(engine: Engine) -> Any:
    return engine._family("tiny").pipeline.vae.decoder


def made(engine: Engine, *steps: int, **settings: Any) -> list[GeneratedImage]:
    requests = [make_request(num_inference_steps=each, seed=seed, **settings) for seed, each in enumerate(steps)]
    handles = [engine.submit("tiny", request) for request in requests]
    if not engine._thread.is_alive():
        engine.start()
    return [handle.future.result(timeout=60) for handle in handles]


def test_who_is_done_at_once_shares_a_call_and_keeps_its_own_pixels(engine: Engine, calls: list[int]) -> None:
    together = made(engine, 3, 3, 3)
    assert calls == [3]

    alone = [made(engine, 3), *([make_alone(engine, seed)] for seed in (1, 2))]
    assert calls == [3, 1, 1, 1]
    for shared, (own,) in zip(together, alone, strict=True):
        difference = np.abs(shared.pixels.astype(int) - own.pixels)
        assert difference.max() <= 1, "as much as the rounding of a batch may do"


def make_alone(engine: Engine, seed: int) -> GeneratedImage:
    return engine.submit("tiny", make_request(num_inference_steps=3, seed=seed)).future.result(timeout=60)


def test_large_images_are_decoded_one_by_one(engine: Engine, calls: list[int]) -> None:
    made(engine, 1, 1, width=256, height=256)
    assert MOST_TOGETHER == 2 * 32 * 32
    assert calls == [2]
    made(engine, 1, 1, width=384, height=384)
    assert calls == [2, 1, 1]


def test_sizes_do_not_mix(engine: Engine, calls: list[int]) -> None:
    small = [make_request(num_inference_steps=1, seed=seed) for seed in range(2)]
    wide = [make_request(num_inference_steps=1, seed=seed, width=128) for seed in range(2)]
    handles = [engine.submit("tiny", request) for request in (small[0], wide[0], small[1], wide[1])]

    engine.start()
    shapes = [handle.future.result(timeout=60).pixels.shape for handle in handles]

    assert shapes == [(64, 64, 3), (64, 128, 3), (64, 64, 3), (64, 128, 3)]
    assert sum(calls) == 4


def test_one_that_overflowed_fails_alone(engine: Engine) -> None:
    decode = engine._family("tiny").decode

    def first_one_broken(latents: torch.Tensor) -> Any:
        return decode(torch.where(torch.arange(len(latents)).view(-1, 1, 1, 1) == 0, torch.inf, latents))

    handles = [engine.submit("tiny", make_request(num_inference_steps=2, seed=seed)) for seed in range(3)]
    engine._family("tiny").decode = first_one_broken_once(decode, first_one_broken)  # type: ignore[method-assign]
    engine.start()

    failures = [handle.future.exception(timeout=60) for handle in handles]
    assert [type(failure) for failure in failures] == [GenerationFailed, type(None), type(None)]


def first_one_broken_once(decode: Any, broken: Any) -> Any:
    """Breaks the first image of the call for all, and of the next one; later calls are as they should be."""
    calls = iter((broken, broken))

    def start(latents: torch.Tensor) -> Any:
        return next(calls, decode)(latents)

    return start
