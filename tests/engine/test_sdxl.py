"""Stable Diffusion XL equals diffusers' pipelines, on tiny random weights in its exact format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.parity import BOUND, difference
from bench.sdxl_parity import SdxlReference
from darkroom.errors import InvalidParams
from engine import Engine, ImageRequest, PipelineSpec
from tests.engine.factories import make_request
from tests.engine.tiny_sdxl import save_tiny_refiner, save_tiny_sdxl

SCHEDULERS = ("euler", "dpmpp_2m", "dpmpp_2m_karras", "ddim", "euler_a", "unipc", "pndm")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def refiner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_refiner(tmp_path_factory.mktemp("refiner"))


def made(requests: list[ImageRequest], tiny: Path, **folders: Path) -> list[Any]:
    """All requests' images, from one crowd with plain Stable Diffusion jobs in it."""
    specs = {name: PipelineSpec(name, str(folder), family="sdxl") for name, folder in folders.items()}
    engine = Engine({**specs, "sd": PipelineSpec("sd", str(tiny))}, device="cpu", dtype="float32", keep_latents=True)
    try:
        for name in (*folders, "sd"):
            engine.load(name)
        strangers = [engine.submit("sd", make_request(seed=seed)) for seed in range(2)]
        handles = [engine.submit("base", request) for request in requests[:-1]]
        engine.start()
        handles.append(engine.submit("base", requests[-1]))  # comes while the others run
        assert all(stranger.future.result(timeout=60).steps == 4 for stranger in strangers)
        return [handle.future.result(timeout=120) for handle in handles]
    finally:
        engine.stop()


CASES = {
    "schedulers": lambda: [make_request(scheduler=name, num_inference_steps=6) for name in SCHEDULERS],
    "guidance": lambda: [make_request(guidance_scale=scale, seed=7) for scale in (1.0, 5.0, 7.5)],
    "negative prompt": lambda: [make_request(negative_prompt="a blue square"), make_request(seed=3)],
    "rescale": lambda: [make_request(guidance_rescale=0.7), make_request(seed=4)],
    "wide": lambda: [make_request(width=96, height=64), make_request(width=96, height=64, seed=2)],
}


@pytest.mark.parametrize("case", CASES)
def test_the_base_equals_the_pipeline(case: str, base: Path, tiny: Path) -> None:
    requests, reference = CASES[case](), SdxlReference(base)

    for image, request in zip(made(requests, tiny, base=base), requests, strict=True):
        assert difference(image.latents, reference.latents(request)) < BOUND


REFINED = {
    "schedulers": lambda: [make_refined(scheduler=name) for name in (*SCHEDULERS, "heun")],
    "shares": lambda: [make_refined(refiner_start=share) for share in (0.5, 0.7, 0.9)],
    "unguided beside plain": lambda: [make_refined(guidance_scale=1.0), make_request(), make_refined(seed=8)],
}


def make_refined(**changes: Any) -> ImageRequest:
    return make_request(**{"refiner": "refiner", "num_inference_steps": 10, **changes})


@pytest.mark.parametrize("case", REFINED)
def test_a_refiner_goes_on_as_the_pipelines_do(case: str, base: Path, refiner: Path, tiny: Path) -> None:
    requests, reference = REFINED[case](), SdxlReference(base, refiner)

    for image, request in zip(made(requests, tiny, base=base, refiner=refiner), requests, strict=True):
        assert difference(image.latents, reference.latents(request)) < BOUND


def test_progress_goes_on_through_the_refiner(base: Path, refiner: Path) -> None:
    specs = {
        name: PipelineSpec(name, str(each), family="sdxl") for name, each in (("base", base), ("refiner", refiner))
    }
    told: list[tuple[int, int]] = []

    with Engine(specs, device="cpu") as engine:
        engine.submit("base", make_refined(), on_step=lambda *step: told.append(step)).future.result(timeout=60)

    assert told == [(step, 10) for step in range(1, 11)]


def test_a_share_that_leaves_one_of_the_two_nothing_to_do_is_refused(base: Path, refiner: Path) -> None:
    specs = {
        name: PipelineSpec(name, str(each), family="sdxl") for name, each in (("base", base), ("refiner", refiner))
    }

    with Engine(specs, device="cpu") as engine:
        error = engine.submit("base", make_refined(refiner_start=0.01)).future.exception(timeout=60)

    assert isinstance(error, InvalidParams)
    assert [problem.field for problem in error.problems] == ["refiner_start"]


def test_half_precision_keeps_the_vae_where_its_config_says(base: Path) -> None:
    with Engine({"base": PipelineSpec("base", str(base), family="sdxl", dtype="float16")}, device="cpu") as engine:
        engine.load("base")
        pipeline: Any = engine._family("base").pipeline

        assert pipeline.unet.dtype is torch.float16
        assert pipeline.vae.dtype is torch.float32, "AutoencoderKL upcasts unless told otherwise"
