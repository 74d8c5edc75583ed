"""The engine's images equal StableDiffusionPipeline's: alone, and in a crowd of strangers.

Fast on pipelines with random weights; the whole matrix on the shipped model is marked slow.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import parity
from bench.parity import BOUND, CONSISTENCY, GUIDANCE_OPTIONS, REFERENCE, Reference, difference
from darkroom.schedulers import SCHEDULERS
from engine import Engine, PipelineSpec
from tests.engine.conftest import MakeEngine
from tests.engine.factories import make_request
from tests.engine.tiny import save_tiny_pipeline

SHIPPED = Path(__file__).parents[2] / "models" / "darkroom-tiny"
SIZE = 64
MOST_BEYOND = 2  # of 368 images: samplers that let rounding grow; none on the machine of bench/parity.md
STEPS = (4, 16)  # on both sides of 15, where DPM++ changes how it ends


def test_the_reference_covers_every_public_scheduler() -> None:
    assert set(REFERENCE) == set(SCHEDULERS)


@pytest.mark.slow
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_every_scheduler_equals_the_pipeline_alone_and_in_a_crowd(
    prediction_type: str, tiny: Path, tiny_v: Path, make_engine: MakeEngine
) -> None:
    folder = {"epsilon": tiny, "v_prediction": tiny_v}[prediction_type]
    engine = make_engine(folder)
    engine.start()

    rows, _ = parity.measure(engine, "tiny", Reference(folder), parity.small_matrix(SIZE))

    assert {row.what for row in rows} == {*SCHEDULERS, *GUIDANCE_OPTIONS}
    assert max(max(row.alone, row.crowd) for row in rows) < BOUND


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scheduler", CONSISTENCY)
def test_consistency_samplers_equal_the_pipeline_step_by_step(
    scheduler: str, prediction_type: str, tiny: Path, tiny_v: Path
) -> None:
    folder = {"epsilon": tiny, "v_prediction": tiny_v}[prediction_type]

    row = parity.consistency_row(scheduler, Reference(folder), SIZE, STEPS)

    assert max(row.alone, row.crowd) < BOUND


def test_the_crowd_is_one(tiny: Path, make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()
    wanted = parity.requests("ddim", itertools.product((1.0, 7.5), (8, 9, 10, 11)), size=SIZE)

    parity.run_crowd(engine, "tiny", wanted)
    forwards = engine.stats().steps

    assert forwards < sum(request.num_inference_steps for request in wanted) / 2, "most forwards were shared"


def test_random_mixes_equal_the_pipeline(tiny: Path, make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()

    mixes = parity.random_mix(engine, "tiny", Reference(tiny), parity.random_requests(12, size=SIZE, seed=7))

    assert all(off <= bound for off, bound in mixes)


def test_a_distilled_unet_takes_the_guidance_scale_as_an_input(tmp_path: Path, make_engine: MakeEngine) -> None:
    folder = save_tiny_pipeline(tmp_path, time_cond_proj_dim=32)
    engine = make_engine(folder)
    engine.start()
    wanted = [make_request(scheduler="lcm", guidance_scale=scale) for scale in (1.0, 8.0)]

    ours = parity.run_crowd(engine, "tiny", wanted)

    for latents, request in zip(ours, wanted, strict=True):
        assert difference(latents, Reference(folder).latents(request)) < BOUND
    assert not torch.equal(*ours)


def test_pixels_equal_the_pipelines_byte_for_byte(tiny: Path, make_engine: MakeEngine) -> None:
    request = make_request(width=64, height=32)
    pipeline = Reference(tiny).pipeline
    expected = pipeline(
        request.prompt,
        width=64,
        height=32,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
    ).images[0]
    engine = make_engine()
    engine.start()

    pixels = engine.submit("tiny", request).future.result(timeout=60).pixels

    assert pixels.shape == (32, 64, 3)
    assert np.array_equal(pixels, np.asarray(expected))


@pytest.mark.parametrize("prompt", ["", "a red circle", "ünïcode 🎈", "a" * 75, "<|endoftext|> a"])
def test_embeddings_equal_the_pipelines(prompt: str, tiny: Path, make_engine: MakeEngine) -> None:
    family = make_engine()._family("tiny")
    positive, negative = Reference(tiny).pipeline.encode_prompt("any", "cpu", 1, True, prompt)

    ours = family.encode(prompt)["encoder_hidden_states"]

    assert torch.equal(ours, negative)
    assert not torch.equal(ours, positive)


@pytest.fixture(scope="module")
def shipped() -> Iterator[tuple[Engine, Reference]]:
    """An engine on the shipped model, and the pipeline beside it."""
    spec = PipelineSpec("darkroom-tiny", str(SHIPPED))
    with Engine({"darkroom-tiny": spec}, device="cpu", keep_latents=True) as engine:
        engine.load("darkroom-tiny")
        yield engine, Reference(SHIPPED)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_shipped_model_equals_the_pipeline_over_the_whole_matrix(shipped: tuple[Engine, Reference]) -> None:
    engine, reference = shipped

    rows, beyond = parity.measure(engine, "darkroom-tiny", reference, parity.matrix(64))  # bench/parity.md has 128

    assert len(beyond) <= MOST_BEYOND
    assert all(image.off <= 10 * image.own for image in beyond), "the reference's own rounding must explain it"
    assert {row.what for row in rows} == {*SCHEDULERS, *GUIDANCE_OPTIONS}


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", CONSISTENCY)
def test_the_shipped_model_equals_the_pipeline_step_by_step(scheduler: str, shipped: tuple[Engine, Reference]) -> None:
    _, reference = shipped

    row = parity.consistency_row(scheduler, reference, 128, (8, 25))

    assert max(row.alone, row.crowd) < BOUND


@pytest.mark.slow
def test_random_mixes_on_the_shipped_model_keep_their_bound(shipped: tuple[Engine, Reference]) -> None:
    engine, reference = shipped
    wanted = parity.random_requests(16, size=128, seed=11)

    mixes = parity.random_mix(engine, "darkroom-tiny", reference, [replace(r, width=96) for r in wanted])

    assert all(off <= bound for off, bound in mixes)
