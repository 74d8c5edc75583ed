"""Waits for something to become true."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 0.05


def await_true(condition: Callable[[], bool], *, seconds: float, what: str) -> float:
    """Wait until it holds; how long that took.

    Raises:
        TimeoutError: saying `what`.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{what} after {seconds:g} s")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began
