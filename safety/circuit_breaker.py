"""Spares a service that does not answer: after some faults in a row nobody asks it for a while.

While the circuit is open, callers fail at once instead of waiting out a time-out each. After the pause one caller may
try; its success closes the circuit, its fault starts the pause anew. Knows no protocol.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FAULTS = 5  # in a row
PAUSE_SECONDS = 15.0


class CircuitBreaker:
    """Counts the faults of one service; safe to use from several threads."""

    def __init__(
        self,
        *,
        faults: int = FAULTS,
        pause_seconds: float = PAUSE_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = faults
        self._pause_seconds = pause_seconds
        self._now = now
        self._lock = threading.Lock()
        self._faults = 0
        self._next_trial = 0.0  # means nothing while the circuit is closed

    def admits(self) -> bool:
        """Whether the service may be asked now. In the open state that makes the caller the one who tries."""
        with self._lock:
            if self._faults < self._limit:
                return True
            if self._now() < self._next_trial:
                return False
            # A trial that never reports back must not keep everybody out for ever: the next pause begins now.
            self._next_trial = self._now() + self._pause_seconds
            return True

    def answered(self) -> None:
        with self._lock:
            self._faults = 0

    def failed(self) -> None:
        with self._lock:
            self._faults += 1
            if self._faults >= self._limit:
                self._next_trial = self._now() + self._pause_seconds
