"""The process's way out: whether it is leaving, and how long running jobs may still take.

SIGTERM runs `begin` inside a signal handler, so it only sets a plain attribute; task threads poll. A fault that only a
new process can heal leaves the usual grace where running jobs can go on (`replace`), and none where they can't (`end`).
Knows neither Celery nor jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from darkroom.errors import DarkroomError
from darkroom.logs import get_logger

log = get_logger(__name__)

LINGER_SECONDS = 5.0  # after the grace time: to give jobs back, through a short outage of the store too


class Draining(DarkroomError):
    """The worker is shutting down, so the job goes back to the queue."""

    code = "draining"


class Drain:
    """Starts open; once begun it stays begun."""

    def __init__(
        self, *, grace_seconds: float, terminate: Callable[[], None], linger_seconds: float = LINGER_SECONDS
    ) -> None:
        """`terminate` asks the process to leave in order, as SIGTERM does."""
        self.reason: str | None = None  # why the process must be replaced, where it is not leaving by request
        self.broken = False  # whether that reason keeps running jobs from going on
        self._grace_seconds = grace_seconds
        self._linger_seconds = linger_seconds
        self._terminate = terminate
        self._until: float | None = None  # time.monotonic() seconds

    def begin(self) -> None:
        """Take no new job; running ones have the grace time. Safe inside a signal handler."""
        if self._until is None:
            self._until = time.monotonic() + self._grace_seconds

    def end(self, reason: str) -> None:
        """Leave because this process can't do its work any more: no grace, and the reason goes on record."""
        if not self.broken:
            self.broken = True
            self._until = time.monotonic()
            self._leave(reason)

    def replace(self, reason: str) -> None:
        """Leave because a new process would do better; running jobs have the grace time."""
        self.begin()
        self._leave(reason)

    def _leave(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
            log.error("worker_ends", reason=reason)
            self._terminate()

    @property
    def begun(self) -> bool:
        return self._until is not None

    @property
    def over(self) -> bool:
        """Whether the grace time has passed."""
        return self._until is not None and time.monotonic() >= self._until

    @property
    def overdue(self) -> bool:
        """Whether the process should have ended by now."""
        return self._until is not None and time.monotonic() >= self._until + self._linger_seconds
