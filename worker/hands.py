"""What the process has in hand: tickets, and the jobs that were claimed for them.

Threads that have to hold their claims back wait here until no job is in hand. A job that ran alone kept all others from
their turn, so afterwards the process rests from such jobs for as long. Knows neither Celery nor the store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Hands:
    """One process's tickets and jobs, counted."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets = 0
        self._jobs = 0
        self._emptied = 0
        self._last_ticket_at = time.monotonic()
        self._held_since: float | None = None
        self._rest_until = 0.0

    @property
    def tickets(self) -> int:
        return self._tickets

    @property
    def jobs(self) -> int:
        return self._jobs

    @property
    def last_ticket_at(self) -> float:
        """When the last ticket came, in time.monotonic() seconds; at first, when counting began."""
        return self._last_ticket_at

    @property
    def emptied(self) -> int:
        """How often the last job in hand has ended."""
        return self._emptied

    @property
    def resting(self) -> bool:
        """Whether others are to come before jobs that run alone."""
        return time.monotonic() < self._rest_until

    @contextmanager
    def ticket(self) -> Iterator[None]:
        """Count a ticket for the length of the block."""
        with self._changed:
            self._tickets += 1
            self._last_ticket_at = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._tickets -= 1

    @contextmanager
    def job(self, *, alone: bool) -> Iterator[None]:
        """Count a job for the length of the block."""
        began = time.monotonic()
        with self._changed:
            self._jobs += 1
            if not alone:
                self._held_since = None
        try:
            yield
        finally:
            with self._changed:
                if alone:
                    self._rest(began)
                self._jobs -= 1
                if self._jobs == 0:
                    self._emptied += 1
                    self._changed.notify_all()

    def await_empty(self, *, since: int, seconds: float) -> None:
        """Wait until the last job in hand has ended after `emptied` was `since`, but not longer than `seconds`."""
        with self._changed:
            if self._held_since is None:
                self._held_since = time.monotonic()
            self._changed.wait_for(lambda: self._emptied != since, timeout=seconds)

    def _rest(self, began: float) -> None:
        now = time.monotonic()
        self._rest_until = now + now - (self._held_since or began)
        self._held_since = None
