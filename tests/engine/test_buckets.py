"""Padded rows change nothing, and a compiled network sees few shapes."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch

from bench.parity import BOUND, difference
from engine.batch import Rows
from engine.buckets import bucket, compiled_where_plain, in_buckets, pad
from tests.engine.conftest import MakeEngine
from tests.engine.factories import make_request, set_trap


def make_rows(count: int) -> Rows:
    torch.manual_seed(count)
    return Rows(
        latents=torch.randn(count, 4, 8, 8),
        timesteps=torch.arange(count, dtype=torch.float32) * 90,
        conditioning={"encoder_hidden_states": torch.randn(count, 77, 32)},
        adapters=tuple(((index, 1.0),) for index in range(count)),
    )


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 16), (513, 513)])
def test_a_bucket_is_the_next_power_of_two(rows: int, size: int) -> None:
    assert bucket(rows) == size


def test_rows_that_fill_their_bucket_are_left_as_they_are() -> None:
    rows = make_rows(4)

    assert pad(rows) is rows


def test_padding_repeats_the_first_row_without_its_adapters() -> None:
    rows = make_rows(3)

    padded = pad(rows)

    assert torch.equal(padded.latents, torch.cat([rows.latents, rows.latents[:1]]))
    assert padded.timesteps.tolist() == [0, 90, 180, 0]
    assert padded.conditioning["encoder_hidden_states"].shape == (4, 77, 32)
    assert padded.adapters == (*rows.adapters, ())


def test_a_padded_forward_predicts_the_same_for_the_rows_that_were_asked_for(make_engine: MakeEngine) -> None:
    family = make_engine()._family("tiny")

    with torch.inference_mode():
        for count in (1, 3, 5, 6, 7):
            rows = make_rows(count)
            alone = family.denoise(rows)
            padded = in_buckets(family.denoise, rows)
            assert padded.shape == alone.shape
            assert difference(padded, alone) < BOUND


def test_rows_with_adapters_are_neither_padded_nor_compiled() -> None:
    seen: list[tuple[int, str]] = []

    def forward(rows: Rows) -> torch.Tensor:
        seen.append((len(rows.latents), torch._dynamo.eval_frame._stance.stance))
        return rows.latents

    plain = Rows(torch.zeros(3, 4, 8, 8), torch.zeros(3), {}, ((),) * 3)
    compiled_where_plain(forward, plain)
    compiled_where_plain(forward, make_rows(3))

    assert seen == [(4, "default"), (3, "force_eager")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's compiler warns of PyTorch
def test_a_compiled_engine_sees_only_buckets_and_paints_the_same(make_engine: MakeEngine) -> None:
    """Traced, but not built: a C++ compiler would take minutes."""
    plain, compiled = make_engine(), make_engine(compile_unet=True)
    unet: Any = compiled._family("tiny").pipeline.unet
    unet.compile(backend="eager")
    seen: set[int] = set()
    set_trap(compiled, "unet", lambda latents: seen.add(len(latents)))
    requests = [make_request(seed=seed, num_inference_steps=2 + seed) for seed in range(3)]
    pairs = [(plain.submit("tiny", request), compiled.submit("tiny", request)) for request in requests]

    plain.start()
    compiled.start()

    for reference, handle in pairs:
        expected, image = reference.future.result(timeout=60), handle.future.result(timeout=120)
        assert image.latents is not None
        assert expected.latents is not None
        assert difference(image.latents, expected.latents) < BOUND
    assert seen == {8, 4, 2}, "six rows, four and two"


@pytest.mark.prove
@pytest.mark.filterwarnings("ignore")  # as above, and inductor's own
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler on a CPU")
def test_a_network_that_is_built_paints_the_same(make_engine: MakeEngine) -> None:
    request = make_request(num_inference_steps=2)
    plain, compiled = make_engine(), make_engine(compile_unet=True)
    pair = plain.submit("tiny", request), compiled.submit("tiny", request)
    plain.start()
    compiled.start()
    expected, image = (handle.future.result(timeout=1700) for handle in pair)

    assert image.latents is not None
    assert expected.latents is not None
    assert difference(image.latents, expected.latents) < BOUND
