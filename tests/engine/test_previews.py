"""Small pictures of what is still being made."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.parity import difference
from darkroom.errors import GenerationFailed
from darkroom.schedulers import SCHEDULERS
from engine import Engine, PipelineSpec
from engine.previews import MOST_SIDE, LatentPreview
from tests.engine.conftest import MakeEngine
from tests.engine.factories import make_request

SHIPPED = Path(__file__).parents[2] / "models" / "darkroom-tiny"


def run(engine: Engine, model: str = "tiny", **changes: Any) -> tuple[list[tuple[int, np.ndarray]], Any]:
    """The previews of one image, and the image."""
    seen: list[tuple[int, np.ndarray]] = []
    handle = engine.submit(model, make_request(**changes), on_preview=lambda *preview: seen.append(preview))
    return seen, handle.future.result(timeout=60)


def test_every_second_step_gives_a_preview_and_the_last_one_none(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()

    seen, _ = run(engine, num_inference_steps=6, preview_every=2, width=64, height=32)

    assert [steps for steps, _ in seen] == [2, 4]
    assert all(picture.shape == (32, 64, 3) and picture.dtype == np.uint8 for _, picture in seen)


def test_previews_change_nothing_in_the_image(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()

    seen, image = run(engine, preview_every=1)
    unseen, same = run(engine)

    assert len(seen) == 3
    assert unseen == []
    assert torch.equal(image.latents, same.latents)


def test_previews_come_in_the_callers_steps_where_the_model_is_called_twice_a_step(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()

    seen, _ = run(engine, scheduler="heun", num_inference_steps=4, preview_every=1)

    assert [steps for steps, _ in seen] == [1, 2, 3]


def test_an_error_in_on_preview_fails_its_own_sample_only(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def fail(_steps: int, _picture: np.ndarray) -> None:
        raise ConnectionError("nobody looks")

    failing = engine.submit("tiny", make_request(preview_every=1), on_preview=fail)
    other = engine.submit("tiny", make_request())
    engine.start()

    assert isinstance(failing.future.exception(timeout=60), GenerationFailed)
    assert other.future.result(timeout=60).steps == 4


@pytest.mark.parametrize(("shape", "size"), [((64, 64), (128, 128)), ((128, 64), (128, 64)), ((8, 4), (64, 32))])
def test_a_preview_has_the_images_shape_and_at_most_128_pixels_a_side(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    preview = LatentPreview(torch.randn(15, 3), scale=8)

    picture = preview(torch.randn(1, 4, *shape))

    assert picture.shape == (*size, 3)
    assert max(size) <= MOST_SIDE


@pytest.mark.parametrize("name", ["euler", "heun", "lms", "dpmpp_2m", "ddim", "pndm", "lcm", "dpmpp_2m_karras"])
def test_what_is_foreseen_is_the_image_before_it_is_there(name: str, make_engine: MakeEngine) -> None:
    """At the last step but one, each sampler's own scale taken out, the foreseen latents are nearly the final ones."""
    engine = make_engine()
    foreseen: list[torch.Tensor] = []

    def look(done: int, total: int) -> None:
        if done == total - 1:
            foreseen.append(handle._sample.tensors.foreseen())

    steps = SCHEDULERS[name].max_steps // 2 if SCHEDULERS[name].few_step else 60
    handle = engine.submit("tiny", make_request(scheduler=name, num_inference_steps=steps), on_step=look)
    engine.start()

    latents = handle.future.result(timeout=60).latents
    assert latents is not None
    assert difference(foreseen[0], latents) < 0.1


@pytest.fixture(scope="module")
def shipped() -> Any:
    with Engine({"shipped": PipelineSpec("shipped", str(SHIPPED))}, device="cpu", keep_latents=True) as engine:
        engine.load("shipped")
        yield engine


def test_previews_of_the_shipped_model_become_its_image(shipped: Engine) -> None:
    prompts = ("a red circle on a blue background", "mountains at sunset", "a black cat")
    size = {"width": 128, "height": 128, "num_inference_steps": 12, "preview_every": 1}

    first, last = [], []
    for prompt in prompts:
        seen, image = run(shipped, "shipped", prompt=prompt, **size)
        errors = [np.abs(picture.astype(float) - image.pixels).mean() for _, picture in seen]
        first.append(errors[0])
        last.append(errors[-1])

    assert np.mean(last) < 40, "of 255: rough, in a latent space that is not linear"
    assert np.mean(last) < 0.8 * np.mean(first), "and better than the first guess"


def test_a_preview_costs_under_three_percent_of_a_step(shipped: Engine) -> None:
    family = shipped._family("shipped")
    latents = torch.randn(1, 4, 16, 16)
    steps: list[float] = []
    run(shipped, "shipped", width=128, height=128)
    handle = shipped.submit(
        "shipped", make_request(width=128, height=128, num_inference_steps=12), on_step=lambda *_: steps.append(now())
    )
    handle.future.result(timeout=60)
    step = float(np.median(np.diff(steps)))

    costs = []
    with torch.inference_mode():
        for _ in range(20):
            start = now()
            family.preview(latents)
            costs.append(now() - start)

    assert float(np.median(costs)) < 0.03 * step


now = time.perf_counter
