"""Ends a process that looks alive and does no work, so that a supervisor can start a working one.

An engine that is dead or stands still: a step that never returns can't be interrupted from Python, so its jobs are
handed back by their own threads, at once. A consumer that is deaf: running jobs may finish. And a process that was to
leave and has not: it is ended from within. The reason goes on record.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine import Engine
from worker.drain import Drain
from worker.hearing import Hearing
from worker.periodic import Periodic

PAUSE_SECONDS = 2.0
# One forward of a large model on a CPU can take minutes; loading a model is not a step and does not count.
STANDSTILL_SECONDS = 600.0
# Celery itself waits up to 32 s between two tries to reach a broker that was away for long.
DEAF_SECONDS = 45.0


class Watchdog(Periodic):
    """Watches one engine, one consumer, and the way out."""

    def __init__(
        self,
        engine: Engine,
        hearing: Hearing,
        drain: Drain,
        *,
        abandon: Callable[[], None],
        standstill_seconds: float = STANDSTILL_SECONDS,
        deaf_seconds: float = DEAF_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """`abandon` ends the process at once, whatever its threads do."""
        super().__init__("watchdog", seconds=pause_seconds)
        self._engine = engine
        self._hearing = hearing
        self._drain = drain
        self._abandon = abandon
        self._standstill_seconds = standstill_seconds
        self._deaf_seconds = deaf_seconds
        self._pause_seconds = pause_seconds

    def engine_finding(self) -> str | None:
        """What is wrong with the engine, or None."""
        if self._engine.fault is not None:
            return self._engine.fault.detail
        still = time.monotonic() - self._engine.last_step_at
        if self._engine.busy and still > self._standstill_seconds:
            return f"the engine has made no step for {still:.0f} s although work is due"
        return None

    def round(self) -> float | None:
        if self._drain.overdue:
            self._abandon()
            return None
        if reason := self.engine_finding():
            self._drain.end(reason)
        elif not self._drain.begun and (deaf := self._hearing.deaf_seconds()) > self._deaf_seconds:
            self._drain.replace(f"no ticket has come for {deaf:.0f} s although some wait and there is room")
        return self._pause_seconds
