"""Random mixes of jobs: whoever arrives, gives up or fails beside an image, it is the image of its solo run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.image_parity import half_mask
from bench.parity import BOUND, CONSISTENCY, difference
from darkroom.errors import GenerationCancelled, GenerationFailed
from darkroom.schedulers import SCHEDULERS
from engine import AdapterUse, Engine, EngineHandle, ImageRequest, PipelineSpec, SafeGuidance
from tests.engine.factories import make_request
from tests.engine.lora.files import in_peft_names, random_lora, save_lora
from tests.engine.lora.reference import LoraReference

PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
PROMPTS = ("a red circle", "a (blue:1.4) square", "a [pale] star \\(old\\)", "one word after another " * 20)
LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "conv1")
ADAPTERS = ("one", "two")
SAFE = SafeGuidance.of("max", "a yellow star")

STAYS, GIVES_UP, FAILS = "stays", "gives up", "fails"


@dataclass(frozen=True)
class Guest:
    """One job of a mix, when it comes and how it leaves."""

    request: ImageRequest
    arrives: int  # after so many steps, the others' counted together
    fate: str
    leaves: int  # its own steps, where it does not stay


@st.composite
def requests(draw: st.DrawFn) -> ImageRequest:
    scheduler = draw(st.sampled_from(list(SCHEDULERS)))
    # Consistency samplers multiply rounding; few steps at low guidance are what they are made for.
    consistent = scheduler in CONSISTENCY
    images: dict[str, Any] = {}
    if draw(st.booleans()):
        images = {"init_image": PICTURE, "strength": draw(st.sampled_from((0.5, 0.8, 1.0)))}
        images |= draw(st.sampled_from(({}, {"mask_image": half_mask(64, 64)})))
    width, height = draw(st.sampled_from(((64, 64), (64, 64), (64, 32))))
    return make_request(
        prompt=draw(st.sampled_from(PROMPTS)),
        negative_prompt=draw(st.sampled_from(("", "blurry"))),
        scheduler=scheduler,
        num_inference_steps=draw(st.integers(2, 5 if consistent else 10)),
        guidance_scale=draw(st.sampled_from((1.0, 2.0) if consistent else (1.0, 2.0, 7.5))),
        guidance_rescale=draw(st.sampled_from((0.0, 0.7))),
        guidance_stop=draw(st.sampled_from((1.0, 0.5))),
        safe_guidance=draw(st.sampled_from((None, None, SAFE))),
        seed=draw(st.integers(0, 2**32)),
        width=width,
        height=height,
        adapters=tuple(
            AdapterUse(name, draw(st.sampled_from((-0.5, 1.0)))) for name in draw(st.sets(st.sampled_from(ADAPTERS)))
        ),
        **images,
    )


GUESTS = st.builds(
    Guest,
    request=requests(),
    arrives=st.integers(0, 12),
    fate=st.sampled_from((STAYS, STAYS, STAYS, GIVES_UP, FAILS)),
    leaves=st.integers(1, 2),
)


@pytest.fixture(scope="module")
def engine(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    unet = {"unet": LoraReference(tiny, {}).pipeline.unet}
    folder = tmp_path_factory.mktemp("loras")
    files = {
        name: save_lora(
            folder / f"{name}.safetensors", in_peft_names(random_lora(unet, layers=LAYERS, seed=seed)), model="tiny"
        )
        for seed, name in enumerate(ADAPTERS)
    }
    specs = {"tiny": PipelineSpec("tiny", str(tiny))}
    with Engine(specs, device="cpu", keep_latents=True, adapters=files, max_rows=6) as running:
        running.load("tiny")
        yield running


class Party:
    """Lets guests in from the device thread, so that who meets whom does not depend on the machine's load."""

    def __init__(self, engine: Engine, guests: list[Guest]) -> None:
        self._engine = engine
        self._coming = sorted(enumerate(guests), key=lambda pair: pair[1].arrives)
        self._ticks = 0
        self._here = 0
        self._all_in = threading.Event()
        self._door = threading.RLock()  # the first guest comes on the test's thread
        self.handles: dict[int, EngineHandle] = {}

    def outcomes(self) -> dict[int, Any]:
        self._open()
        assert self._all_in.wait(60)
        return {
            index: handle.future.exception(timeout=60) or handle.future.result()
            for index, handle in self.handles.items()
        }

    def _open(self) -> None:
        with self._door:
            while self._coming and (self._coming[0][1].arrives <= self._ticks or self._here == 0):
                self._let_in(*self._coming.pop(0))
            if not self._coming:
                self._all_in.set()

    def _let_in(self, index: int, guest: Guest) -> None:
        self._here += 1

        def step(done: int, _total: int) -> None:
            self._ticks += 1
            self._open()
            if done >= guest.leaves and guest.fate == GIVES_UP:
                self.handles[index].cancel()
            if done >= guest.leaves and guest.fate == FAILS:
                raise ConnectionError("nobody listens")

        self.handles[index] = self._engine.submit("tiny", guest.request, on_step=step)
        self.handles[index].future.add_done_callback(lambda _: self._left())

    def _left(self) -> None:
        self._here -= 1
        self._open()


def alone(engine: Engine, request: ImageRequest) -> torch.Tensor:
    latents = engine.submit("tiny", request).future.result(timeout=60).latents
    assert latents is not None
    return latents


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(guests=st.lists(GUESTS, min_size=2, max_size=6))
def test_every_image_of_a_random_mix_is_that_of_its_solo_run(engine: Engine, guests: list[Guest]) -> None:
    outcomes = Party(engine, guests).outcomes()

    for index, guest in enumerate(guests):
        outcome = outcomes[index]
        if guest.fate == FAILS:
            assert isinstance(outcome, GenerationFailed)
        elif isinstance(outcome, GenerationCancelled):
            assert guest.fate == GIVES_UP
        else:
            assert difference(outcome.latents, alone(engine, guest.request)) < BOUND
    assert engine.stats().rows == 0
