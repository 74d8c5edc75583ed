"""Ends a process whose engine is dead or stands still, so that a supervisor can start a working one.

A step that never returns can't be interrupted from Python. Its jobs are handed back by their own threads, and the
process leaves with its reason on record.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine import Engine
from worker.periodic import Periodic

PAUSE_SECONDS = 2.0
# One forward of a large model on a CPU can take minutes; loading a model is not a step and does not count.
STANDSTILL_SECONDS = 600.0


class Watchdog(Periodic):
    """Watches one engine."""

    def __init__(
        self,
        engine: Engine,
        *,
        end: Callable[[str], None],
        standstill_seconds: float = STANDSTILL_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """`end` is called once, with the reason."""
        super().__init__("watchdog", seconds=pause_seconds)
        self._engine = engine
        self._end = end
        self._standstill_seconds = standstill_seconds
        self._pause_seconds = pause_seconds

    def finding(self) -> str | None:
        """What is wrong with the engine, or None."""
        if self._engine.fault is not None:
            return self._engine.fault.detail
        still = time.monotonic() - self._engine.last_step_at
        if self._engine.busy and still > self._standstill_seconds:
            return f"the engine has made no step for {still:.0f} s although work is due"
        return None

    def round(self) -> float | None:
        if reason := self.finding():
            self._end(reason)
            return None
        return self._pause_seconds
