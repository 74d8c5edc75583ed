"""The process's way out: whether it is leaving, and how long running jobs may still take.

SIGTERM runs `begin` inside a signal handler, so it only sets a plain attribute; task threads poll. A fault that only a
new process can heal (`end`) leaves no grace. Knows neither Celery nor jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from darkroom.errors import DarkroomError
from darkroom.logs import get_logger

log = get_logger(__name__)


class Draining(DarkroomError):
    """The worker is shutting down, so the job goes back to the queue."""

    code = "draining"


class Drain:
    """Starts open; once begun it stays begun."""

    def __init__(self, *, grace_seconds: float, terminate: Callable[[], None]) -> None:
        """`terminate` asks the process to leave in order, as SIGTERM does."""
        self.reason: str | None = None  # why the process must be replaced, where it is not leaving by request
        self._grace_seconds = grace_seconds
        self._terminate = terminate
        self._until: float | None = None  # time.monotonic() seconds

    def begin(self) -> None:
        """Take no new job; running ones have the grace time. Safe inside a signal handler."""
        if self._until is None:
            self._until = time.monotonic() + self._grace_seconds

    def end(self, reason: str) -> None:
        """Leave because this process can't do its work any more: no grace, and the reason goes on record."""
        if self.reason is not None:
            return
        self.reason = reason
        self._until = time.monotonic()
        log.error("worker_ends", reason=reason)
        self._terminate()

    @property
    def begun(self) -> bool:
        return self._until is not None

    @property
    def over(self) -> bool:
        """Whether the grace time has passed."""
        return self._until is not None and time.monotonic() >= self._until
