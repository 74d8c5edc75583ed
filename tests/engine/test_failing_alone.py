"""What goes wrong in the loop hits the sample that it belongs to, and nobody else unless the device is lost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.parity import BOUND, difference
from darkroom.errors import DeviceLost, GenerationFailed, InvalidParams, OutOfMemory
from tests.engine.conftest import MakeEngine
from tests.engine.factories import Notes, make_request, outcome, set_trap


def test_out_of_memory_halves_the_group_and_every_image_is_still_made(make_engine: MakeEngine) -> None:
    forwards: list[int] = []

    def full(rows: torch.Tensor) -> None:
        forwards.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    engine = make_engine()
    set_trap(engine, "unet", full)
    handles = [engine.submit("tiny", make_request(seed=seed, num_inference_steps=3)) for seed in range(4)]
    plain = make_engine()
    expected = [plain.submit("tiny", make_request(seed=seed, num_inference_steps=3)) for seed in range(4)]

    engine.start()
    plain.start()

    for handle, other in zip(handles, expected, strict=True):
        assert difference(outcome(handle).latents, outcome(other).latents) < BOUND
    assert forwards[:7] == [8, 4, 2, 2, 4, 2, 2], "halved until it fits"
    assert set(forwards[7:]) == {2}, "and not tried at eight rows again"


def test_a_sample_that_is_out_of_memory_alone_fails_alone(make_engine: MakeEngine) -> None:
    def full(rows: torch.Tensor) -> None:
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    engine = make_engine()
    set_trap(engine, "unet", full)
    guided = engine.submit("tiny", make_request(guidance_scale=5.0))
    unguided = engine.submit("tiny", make_request(guidance_scale=1.0))

    engine.start()

    assert isinstance(outcome(guided), OutOfMemory)
    assert outcome(unguided).steps == 4


def test_a_forward_that_fails_is_tried_sample_by_sample_and_only_the_guilty_one_fails(make_engine: MakeEngine) -> None:
    engine = make_engine()
    guilty = engine.submit("tiny", make_request(num_inference_steps=9))
    innocent = [engine.submit("tiny", make_request(seed=seed)) for seed in (2, 3)]

    def choke(rows: torch.Tensor) -> None:
        tensors = guilty._sample.denoising
        if tensors is not None and any(torch.equal(row[None], tensors.model_input()[:1]) for row in rows):
            raise ValueError("a shape that does not fit")

    set_trap(engine, "unet", choke)
    engine.start()

    error = outcome(guilty)
    assert type(error) is GenerationFailed
    assert error.detail == "the image could not be generated: ValueError"
    assert [outcome(handle).steps for handle in innocent] == [4, 4]


def test_a_scheduler_step_that_fails_fails_its_own_sample_only(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def break_scheduler(done: int, _total: int) -> None:
        if done == 2:
            broken._sample.tensors.scheduler.sigmas = None

    broken = engine.submit("tiny", make_request(scheduler="euler"), on_step=break_scheduler)
    other = engine.submit("tiny", make_request(scheduler="euler"))
    engine.start()

    assert isinstance(outcome(broken), GenerationFailed)
    assert outcome(other).steps == 4


def test_an_error_in_on_step_fails_its_own_sample_only(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def fail(_done: int, _total: int) -> None:
        raise ConnectionError("the store is away")

    failing = engine.submit("tiny", make_request(), on_step=fail)
    other = engine.submit("tiny", make_request())
    engine.start()

    assert isinstance(outcome(failing), GenerationFailed)
    assert outcome(other).steps == 4


def test_latents_that_are_not_finite_fail_their_own_sample_only(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def poison(done: int, _total: int) -> None:
        if done == 2:
            poisoned._sample.tensors.latents[0, 0, 0, 0] = float("nan")

    poisoned = engine.submit("tiny", make_request(), on_step=poison)
    other = engine.submit("tiny", make_request(seed=2))
    engine.start()

    assert "overflowed" in str(outcome(poisoned))
    assert outcome(other).steps == 4


def test_a_decode_that_fails_fails_its_own_sample_only(make_engine: MakeEngine) -> None:
    engine = make_engine()
    calls: list[object] = []

    def fail_the_first(*_: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("no such kernel")

    pipeline: Any = engine._family("tiny").pipeline
    pipeline.vae.decoder.up_blocks[1].resnets[0].register_forward_pre_hook(fail_the_first)
    first, second = (engine.submit("tiny", make_request(num_inference_steps=steps)) for steps in (2, 4))
    engine.start()

    assert isinstance(outcome(first), GenerationFailed)
    assert outcome(second).steps == 4


def test_a_size_that_the_vae_cannot_make_fails_alone(make_engine: MakeEngine) -> None:
    engine = make_engine()
    odd = engine.submit("tiny", make_request(width=60))
    engine.start()

    error = outcome(odd)

    assert isinstance(error, InvalidParams)
    assert error.problems[0].field == "width"
    assert error.problems[0].nearest == 64


def test_a_lost_device_stops_the_engine_and_fails_everybody(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes, max_rows=2)

    def lose(_rows: torch.Tensor) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    set_trap(engine, "unet", lose)
    handles = [engine.submit("tiny", make_request()) for _ in range(3)]
    engine.start()

    assert all(isinstance(outcome(handle), DeviceLost) for handle in handles)
    assert isinstance(engine.fault, DeviceLost)
    assert notes.outcomes == ["device_lost"] * 3
    with pytest.raises(DeviceLost):
        engine.submit("tiny", make_request())


def test_no_log_line_quotes_a_prompt(
    make_engine: MakeEngine,
    captured_logs: list[Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = make_engine()

    def quote(_done: int, _total: int) -> None:
        raise ValueError("unicorn")

    engine.start()
    long = engine.submit("tiny", make_request(prompt="unicorn " * 100, negative_prompt="unicorn " * 100))
    outcome(long)
    failing = engine.submit("tiny", make_request(prompt="unicorn"), on_step=quote)

    assert "unicorn" not in str(outcome(failing))
    assert "sample_failed" in str(captured_logs)
    said = (*capfd.readouterr(), caplog.text, str(captured_logs))
    assert "unicorn" not in "".join(said)
