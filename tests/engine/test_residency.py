"""Several models in one process, within a budget for their weights."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.errors import ModelUnavailable
from engine import Engine, EngineHandle, PipelineSpec
from engine.weights import bytes_once_loaded
from tests.engine.factories import make_request
from tests.fixtures.processes import eventually

NAMES = ("first", "second", "third")


class Comings:
    """An observer that notes which models come and go."""

    def __init__(self) -> None:
        self.models: list[str] = []

    def model_loaded(self, model: str, **_: Any) -> None:
        self.models.append(f"+{model}")

    def model_evicted(self, model: str) -> None:
        self.models.append(f"-{model}")

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_named: None


class House:
    """An engine with three equal models and room for two."""

    def __init__(self, folder: Path, *, room: float = 2.5, **folders: Path) -> None:
        specs = {name: PipelineSpec(name, str(folders.get(name, folder))) for name in NAMES}
        weight = bytes_once_loaded(specs["first"], torch.float32)
        self.comings = Comings()
        self.budget = int(weight * room)
        self.engine = Engine(
            specs, device="cpu", models_budget_bytes=self.budget, observer=self.comings, keep_latents=True
        )

    def submit(self, model: str, **changes: Any) -> EngineHandle:
        on_step = changes.pop("on_step", None)
        return self.engine.submit(model, make_request(**changes), on_step=on_step)


@pytest.fixture
def house(tiny: Path) -> Iterator[House]:
    house = House(tiny)
    with house.engine:
        yield house


def test_a_third_model_takes_the_place_of_the_one_that_was_not_used_for_longest(house: House) -> None:
    for name in ("first", "second", "first", "third", "first"):
        house.submit(name).future.result(timeout=60)

    assert house.comings.models == ["+first", "+second", "-second", "+third"]
    assert set(house.engine.stats().models) == {"first", "third"}
    assert house.engine.stats().model_bytes <= house.budget


def test_a_model_that_was_evicted_comes_back_and_paints_the_same(house: House) -> None:
    before = house.submit("first").future.result(timeout=60)
    house.submit("second").future.result(timeout=60)
    house.submit("third").future.result(timeout=60)

    after = house.submit("first").future.result(timeout=60)

    assert house.comings.models.count("+first") == 2
    assert before.latents is not None
    assert after.latents is not None
    assert torch.equal(before.latents, after.latents)


def test_evicted_weights_are_freed(house: House) -> None:
    house.submit("first").future.result(timeout=60)
    family: Any = house.engine._family("first")
    parts = [weakref.ref(part) for part in (family.pipeline.unet, family.pipeline.vae, family.pipeline.text_encoder)]
    del family

    house.submit("second").future.result(timeout=60)
    house.submit("third").future.result(timeout=60)

    gc.collect()
    assert [part() for part in parts] == [None, None, None]


def test_a_model_with_a_sample_under_way_stays(house: House) -> None:
    held = threading.Event()
    long = house.submit("first", num_inference_steps=40, on_step=lambda done, _: done == 2 and held.wait(30))
    eventually(lambda: house.engine.stats().running == 1)
    waiting = [house.submit(name) for name in ("second", "third")]
    held.set()

    for handle in (*waiting, long):
        handle.future.result(timeout=60)

    assert "-first" not in house.comings.models[: house.comings.models.index("+third") - 1]
    assert long.future.result().steps == 40


@pytest.mark.slow
def test_a_sample_that_waits_for_memory_gets_it_while_others_keep_coming(house: House) -> None:
    """The two resident models never run dry, and the third still gets its turn."""
    handles: list[EngineHandle] = []
    done = threading.Event()

    def keep_coming(name: str) -> EngineHandle:
        def again(step: int, _total: int) -> None:
            if step == 2 and not done.is_set():
                handles.append(keep_coming(name))

        return house.submit(name, on_step=again)

    handles += [keep_coming("first"), keep_coming("second")]
    eventually(lambda: house.engine.stats().running >= 2)

    image = house.submit("third").future.result(timeout=60)
    done.set()

    assert image.steps == 4
    for handle in tuple(handles):
        assert handle.future.result(timeout=60).steps == 4


@pytest.mark.slow
def test_models_that_take_turns_do_not_thrash(house: House) -> None:
    """Thirty samples of three models come at once: each model is loaded about once, not once a sample."""
    handles = [house.submit(NAMES[index % 3], seed=index) for index in range(30)]

    for handle in handles:
        handle.future.result(timeout=120)

    loads = [event for event in house.comings.models if event.startswith("+")]
    assert len(loads) <= 6, house.comings.models


def test_a_model_larger_than_the_whole_budget_is_refused(tiny: Path) -> None:
    house = House(tiny, room=0.5)

    with pytest.raises(ModelUnavailable, match=r"needs [\d,]+ bytes for its weights; the budget for models is"):
        house.submit("first")
    with pytest.raises(ModelUnavailable, match="budget"):
        house.engine.preload(["first"])
    house.engine.stop()


def test_preloading_takes_what_fits_in_the_order_given(tiny: Path) -> None:
    house = House(tiny)

    assert house.engine.preload(["second", "first", "third"]) == ("second", "first")
    assert set(house.engine.stats().models) == {"first", "second"}
    house.engine.stop()


def test_a_model_that_cannot_be_loaded_fails_its_samples_and_is_tried_again(tiny: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny, tmp_path / "broken")
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"not weights")
    house = House(tiny, second=broken)
    with house.engine:
        failing = house.submit("second")
        assert isinstance(failing.future.exception(timeout=60), ModelUnavailable)
        assert house.submit("first").future.result(timeout=60).steps == 4
        weights.write_bytes(whole)

        assert house.submit("second").future.result(timeout=60).steps == 4


def test_cancelling_a_sample_that_waits_for_memory_lets_the_resident_models_go_on(house: House) -> None:
    house.engine.preload(["first", "second"])
    running = [house.submit(name, num_inference_steps=900) for name in ("first", "second")]
    waiting = house.submit("third")
    behind = house.submit("first", seed=2)

    waiting.cancel()

    assert behind.future.result(timeout=60).steps == 4
    for handle in running:
        handle.cancel()
    assert "+third" not in house.comings.models
