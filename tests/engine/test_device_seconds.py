"""What each image took of the device: its share, by rows, of the forwards, and what was done for it alone."""

from __future__ import annotations

from typing import Any

import pytest

from engine import EngineHandle
from tests.engine.conftest import MakeEngine
from tests.engine.factories import Notes, make_request, set_trap


def settled(handles: list[EngineHandle]) -> None:
    for handle in handles:
        handle.future.exception(timeout=60)


def test_the_shares_of_mixed_images_sum_to_the_devices_time(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes, max_rows=5)
    handles = [
        engine.submit("tiny", make_request(seed=seed, num_inference_steps=2 + seed % 5, guidance_scale=guidance))
        for seed, guidance in enumerate((5.0, 1.0, 7.5, 1.0, 3.0, 5.0))
    ]

    engine.start()
    settled(handles)

    taken = [handle.future.result().device_seconds for handle in handles]
    assert min(taken) > 0
    assert sum(taken) == pytest.approx(notes.device_seconds, rel=1e-9)


def test_a_guided_image_is_charged_for_its_two_rows_of_three(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)
    handles = [
        engine.submit("tiny", make_request(guidance_scale=scale, num_inference_steps=40)) for scale in (5.0, 1.0)
    ]

    engine.start()
    settled(handles)

    guided, unguided = (handle.future.result().device_seconds for handle in handles)
    assert set(notes.steps) == {(3, 2)}
    assert guided > 1.3 * unguided, "twice its rows, and as much time alone"


def test_failed_and_cancelled_images_keep_what_they_took(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)
    leaving: list[EngineHandle] = []

    def leave(done: int, _total: int) -> None:
        if done == 2:
            leaving[0].cancel()

    def fail(_done: int, _total: int) -> None:
        raise RuntimeError("a fault of this image")

    leaving.append(engine.submit("tiny", make_request(num_inference_steps=50), on_step=leave))
    handles = [
        *leaving,
        engine.submit("tiny", make_request(seed=2), on_step=fail),
        engine.submit("tiny", make_request()),
    ]

    engine.start()
    settled(handles)

    assert notes.outcomes.count("succeeded") == 1
    assert min(handle.device_seconds for handle in handles) > 0
    assert sum(handle.device_seconds for handle in handles) == pytest.approx(notes.device_seconds, rel=1e-9)


def test_time_of_a_forward_that_had_to_be_repeated_is_shared_too(make_engine: MakeEngine) -> None:
    notes = Notes()
    engine = make_engine(observer=notes)
    left = [1]

    def refuse(rows: Any) -> None:
        if len(rows) > 2 and left:
            left.pop()
            raise RuntimeError("out of memory: DefaultCPUAllocator: can't allocate memory")

    set_trap(engine, "unet", refuse)
    handles = [engine.submit("tiny", make_request(seed=seed)) for seed in (1, 2)]

    engine.start()
    settled(handles)

    assert not left
    assert sum(handle.device_seconds for handle in handles) == pytest.approx(notes.device_seconds, rel=1e-9)
