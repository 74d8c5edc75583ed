"""Lends an idle process to the tiers of other pools, and takes it back when its own have work.

Celery brings tickets of the own tiers alone, so help is a claim without a ticket. It begins once the process has been
without work for a while. Helped jobs share the batch with own ones; where an own job finds no room, they go back to
their queue, which is no strike against them. Knows neither Celery nor the engine's inside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from darkroom.jobs import Tier
from darkroom.metrics import Metrics
from engine import Engine
from worker.drain import Drain
from worker.hands import Hands
from worker.periodic import Periodic
from worker.runner import Outcome
from worker.tasks import Work

PAUSE_SECONDS = 0.25  # between two looks
LEAVE_SECONDS = 30.0  # after the grace: a helped job has gone back long before


class Helper(Periodic):
    """One thread that looks, and one for each helped job."""

    def __init__(
        self,
        work: Work,
        engine: Engine,
        hands: Hands,
        drain: Drain,
        *,
        tiers: Sequence[Tier],
        idle_seconds: float,
        places: int,
        metrics: Metrics,
    ) -> None:
        """`tiers` are helped in this order, with at most `places` jobs at once."""
        super().__init__("helper", seconds=PAUSE_SECONDS)
        self._work = work
        self._engine = engine
        self._hands = hands
        self._drain = drain
        self._tiers = tuple(tiers)
        self._idle_seconds = idle_seconds
        self._places = places
        self._metrics = metrics
        self._threads: list[threading.Thread] = []
        self._idle_since = time.monotonic()

    def round(self) -> float | None:
        if self._drain.begun:
            return None
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if self._is_idle() and len(self._threads) < self._places and self._engine.capacity() > 0:
            thread = threading.Thread(target=self._help, name="help", daemon=True)
            self._threads.append(thread)
            thread.start()
        return PAUSE_SECONDS

    def finish(self) -> None:
        """Wait for helped jobs; once the process leaves, they end or go back as all others do."""
        self.stop()
        for thread in self._threads:
            thread.join(LEAVE_SECONDS)

    def own_work_waits(self) -> bool:
        """Whether a job of the own tiers is kept out by those that are helped."""
        return self._hands.tickets > 0 and self._engine.capacity() <= 0

    def _is_idle(self) -> bool:
        now = time.monotonic()
        if self._hands.tickets:
            self._idle_since = now
            return False
        self._idle_since = max(self._idle_since, self._hands.last_ticket_at)
        return now - self._idle_since >= self._idle_seconds

    def _help(self) -> None:
        """Carry jobs one after the other for as long as nobody of the own tiers comes."""
        while self._is_idle() and not self._drain.begun:
            if not any(self._carried(tier) for tier in self._tiers):
                return

    def _carried(self, tier: Tier) -> bool:
        outcome = self._work.help(tier, is_unwelcome=self.own_work_waits)
        if outcome is not None:
            result = "finished" if outcome is Outcome.ENDED else "returned"
            self._metrics.helped_jobs.labels(tier, result).inc()
        return outcome is not None
