"""Images made from images equal diffusers' own pipelines: alone, and among strangers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.image_parity import ImageReference, half_mask
from bench.parity import BOUND, difference
from darkroom.errors import DarkroomError, GenerationCancelled, InvalidParams
from engine import Engine, ImageRequest, PipelineSpec
from tests.engine.conftest import MakeEngine
from tests.engine.factories import make_request
from tests.engine.tiny import save_tiny_pipeline

SHIPPED = Path(__file__).parents[2] / "models" / "darkroom-tiny"
SCHEDULERS = ("dpmpp_2m", "ddim", "euler", "euler_a", "pndm", "unipc", "heun", "lms", "deis", "ddpm")
PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
WIDE = np.random.default_rng(4).integers(0, 256, (48, 100, 3), dtype=np.uint8)


def make_image_request(**changes: Any) -> ImageRequest:
    return make_request(**{"init_image": PICTURE, "num_inference_steps": 6, "strength": 0.5, **changes})


def make_masked_request(**changes: Any) -> ImageRequest:
    return make_image_request(**{"mask_image": half_mask(64, 64), **changes})


def box_mask(picture: np.ndarray) -> np.ndarray:
    mask = np.zeros(picture.shape[:2], dtype=np.uint8)
    mask[16:32, 24:44] = 255
    return mask


@pytest.fixture(scope="module")
def tiny_inpaint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose UNet takes nine channels."""
    return save_tiny_pipeline(tmp_path_factory.mktemp("tiny-inpaint"), in_channels=9)


def made(engine: Engine, requests: list[ImageRequest]) -> list[Any]:
    handles = [engine.submit("tiny", request) for request in requests]
    if not engine._thread.is_alive():
        engine.start()
    return [handle.future.result(timeout=60) for handle in handles]


CASES = {
    "image to image": lambda: [make_image_request(scheduler=name) for name in SCHEDULERS],
    "strengths": lambda: [make_image_request(strength=strength) for strength in (0.2, 0.8, 1.0)],
    "unguided": lambda: [make_image_request(guidance_scale=1.0), make_masked_request(guidance_scale=1.0)],
    "resized": lambda: [make_image_request(init_image=WIDE, width=64, height=32)],
    "masked": lambda: [make_masked_request(scheduler=name) for name in SCHEDULERS],
    "masked strengths": lambda: [make_masked_request(strength=strength) for strength in (0.2, 0.8, 1.0)],
    "blurred": lambda: [make_masked_request(mask_blur=8, mask_image=box_mask(PICTURE))],
    "padded": lambda: [make_masked_request(mask_padding=4, mask_image=box_mask(PICTURE))],
    "masked and resized": lambda: [make_masked_request(init_image=WIDE, mask_image=box_mask(WIDE), height=32)],
}


@pytest.mark.parametrize("case", CASES)
def test_a_four_channel_model_equals_the_pipelines(case: str, tiny: Path, make_engine: MakeEngine) -> None:
    requests, reference = CASES[case](), ImageReference(tiny)

    for image, request in zip(made(make_engine(), requests), requests, strict=True):
        assert difference(image.latents, reference.latents(request)) < BOUND


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("masked", "blurred", "padded"))])
def test_a_nine_channel_model_equals_the_pipeline(case: str, tiny_inpaint: Path, make_engine: MakeEngine) -> None:
    requests, reference = CASES[case](), ImageReference(tiny_inpaint)

    for image, request in zip(made(make_engine(tiny_inpaint), requests), requests, strict=True):
        assert difference(image.latents, reference.latents(request)) < BOUND


def test_a_repainted_crop_is_put_back_as_the_pipeline_does(tiny: Path, make_engine: MakeEngine) -> None:
    request = make_masked_request(init_image=WIDE, mask_image=box_mask(WIDE), mask_padding=6, mask_blur=2)

    image = made(make_engine(), [request])[0]

    assert image.pixels.shape == WIDE.shape
    assert np.array_equal(image.pixels, ImageReference(tiny).pixels(request))
    assert np.array_equal(image.pixels[:, 60:], WIDE[:, 60:]), "what is far from the mask stays"


def test_a_crowd_with_neighbours_that_come_fail_and_go_changes_no_image(tiny: Path, make_engine: MakeEngine) -> None:
    engine, reference = make_engine(), ImageReference(tiny)
    wanted = [make_image_request(seed=5), make_masked_request(seed=6), make_image_request(seed=7, scheduler="euler_a")]

    def fail(*_: object) -> None:
        raise RuntimeError("a callback of ours")

    cancelled = engine.submit("tiny", make_request(num_inference_steps=50))
    failing = engine.submit("tiny", make_request(), on_step=fail)
    plain = engine.submit("tiny", make_request(seed=9))
    handles = [engine.submit("tiny", request, on_step=lambda *_: cancelled.cancel()) for request in wanted]
    engine.start()

    for handle, request in zip(handles, wanted, strict=True):
        image = handle.future.result(timeout=60)
        assert difference(image.latents, reference.latents(request)) < BOUND
        assert image.rows_mean > 2, "it shared its forwards"
    assert plain.future.result(timeout=60).steps == 4
    assert isinstance(cancelled.future.exception(timeout=60), GenerationCancelled)
    assert isinstance(failing.future.exception(timeout=60), DarkroomError)


def test_progress_counts_the_steps_that_the_image_goes_through(make_engine: MakeEngine) -> None:
    told: list[tuple[int, int]] = []
    engine = make_engine()
    engine.start()

    handle = engine.submit(
        "tiny", make_image_request(num_inference_steps=8, strength=0.5), on_step=lambda *step: told.append(step)
    )
    handle.future.result(timeout=60)

    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"init_image": None}, "mask_image"),
        ({"init_image": PICTURE.astype(np.float32)}, "init_image"),
        ({"init_image": PICTURE[:, :, 0]}, "init_image"),
        ({"mask_image": half_mask(32, 64)}, "mask_image"),
        ({"mask_image": PICTURE}, "mask_image"),
        ({"strength": 0.0}, "strength"),
        ({"strength": 1.2}, "strength"),
        ({"strength": 0.1}, "strength"),
    ],
)
def test_a_wrong_image_names_its_field(changes: dict[str, Any], field: str, make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()

    error = engine.submit("tiny", make_masked_request(**changes)).future.exception(timeout=60)

    assert isinstance(error, InvalidParams)
    assert [problem.field for problem in error.problems] == [field]


@pytest.mark.parametrize("missing", [["init_image", "mask_image"], ["mask_image"]])
def test_an_inpainting_model_wants_an_image_and_a_mask(
    missing: list[str], tiny_inpaint: Path, make_engine: MakeEngine
) -> None:
    engine = make_engine(tiny_inpaint)
    engine.start()

    request = make_masked_request(**dict.fromkeys(missing))
    error = engine.submit("tiny", request).future.exception(timeout=60)

    assert isinstance(error, InvalidParams)
    assert [problem.field for problem in error.problems] == missing


@pytest.mark.slow
def test_the_shipped_model_equals_the_pipelines() -> None:
    picture = np.random.default_rng(5).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    changes = {"init_image": picture, "width": 128, "height": 128, "num_inference_steps": 12}
    wanted = [
        make_image_request(**changes, strength=strength, scheduler=name)
        for name in ("dpmpp_2m", "euler_a")
        for strength in (0.3, 0.75)
    ]
    wanted += [make_masked_request(**changes, mask_image=half_mask(128, 128), strength=each) for each in (0.75, 1.0)]
    reference = ImageReference(SHIPPED)

    with Engine({"tiny": PipelineSpec("tiny", str(SHIPPED))}, device="cpu", keep_latents=True) as engine:
        images = [handle.future.result(timeout=120) for handle in [engine.submit("tiny", each) for each in wanted]]

    for image, request in zip(images, wanted, strict=True):
        assert difference(image.latents, reference.latents(request)) < BOUND
