"""An engine that is dead or stands still ends its process."""

from __future__ import annotations

import threading

import pytest

from engine import Engine
from tests.engine.factories import make_request, set_trap
from tests.fixtures.processes import eventually
from worker.watchdog import Watchdog


def test_a_healthy_engine_is_left_alone(own_engine: Engine) -> None:
    watchdog = Watchdog(own_engine, end=pytest.fail, standstill_seconds=0.0)
    own_engine.submit("tiny", make_request()).future.result(timeout=60)

    eventually(lambda: not own_engine.busy)
    assert watchdog.finding() is None


def test_an_engine_that_hangs_in_a_forward_is_found(own_engine: Engine) -> None:
    released = threading.Event()
    set_trap(own_engine, "unet", lambda _latents: released.wait(60))
    reasons: list[str] = []
    watchdog = Watchdog(own_engine, end=reasons.append, standstill_seconds=0.3, pause_seconds=0.05)
    watchdog.start()

    own_engine.submit("tiny", make_request())

    reason = eventually(lambda: reasons, seconds=10)[0]
    assert "no step" in reason
    released.set()
    watchdog.stop()


def test_an_engine_that_lost_its_device_is_found(own_engine: Engine) -> None:
    def lose(_latents: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    set_trap(own_engine, "unet", lose)
    handle = own_engine.submit("tiny", make_request())
    assert handle.future.exception(timeout=60) is not None

    reason = eventually(Watchdog(own_engine, end=pytest.fail).finding, seconds=10)

    assert "accelerator" in reason
