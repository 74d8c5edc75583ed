"""Tells what is true of the whole service: queues, reviews, webhooks that wait, Redis' own state.

Every candidate runs one; a lease in Redis elects the process whose metrics show it, so each figure is scraped once
however many processes there are. The delivery process is a candidate too: queues are told where no worker runs.
"""

from __future__ import annotations

from typing import Any

import redis

from darkroom import appeals, review
from darkroom.clock import unix_time
from darkroom.election import Election
from darkroom.errors import JobStoreUnavailable
from darkroom.job_store import JobStore
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.outbox import backlog
from darkroom.redis_client import redis_errors
from worker.periodic import Periodic

log = get_logger(__name__)

LEASE = "darkroom:teller"
LEASE_SECONDS = 10.0
ROUND_SECONDS = 3.0


class Teller(Periodic):
    """One candidate's thread."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        name: str,
        metrics: Metrics,
        seconds: float = ROUND_SECONDS,
    ) -> None:
        """`name` is the process's own among all candidates."""
        super().__init__("teller", seconds=0)
        self._redis = client
        self._election = Election(client, LEASE, name=name, seconds=LEASE_SECONDS)
        self._jobs = JobStore(client)
        self._metrics = metrics
        self._seconds = seconds

    def round(self) -> float:
        try:
            telling = self._election.won()
            if telling:
                self._look()
        except JobStoreUnavailable:
            telling = False  # old figures would pass for new ones
        except Exception as error:  # noqa: BLE001 - whatever happens, the next round must come
            log.warning("teller_failed", error=type(error).__name__)
            telling = False
        self._metrics.tell(telling)
        return self._seconds

    def stop(self) -> None:
        """Leave the lease to another at once."""
        super().stop()
        self._metrics.tell(False)
        self._election.leave()

    def _look(self) -> None:
        metrics = self._metrics
        metrics.observe_queues(self._jobs.counts())
        waiting, since = review.depth(self._redis)
        age = max(unix_time() - since, 0.0) if waiting else 0.0
        metrics.observe_review(waiting, age, appeals.depth(self._redis))
        metrics.observe_outbox(*backlog(self._redis))
        with redis_errors():
            memory: Any = self._redis.info("memory")
            saved: Any = self._redis.info("persistence")
        persists = bool(int(saved["aof_enabled"])) and saved["aof_last_write_status"] == "ok"
        metrics.observe_redis(int(memory["used_memory"]), int(memory["maxmemory"]), persists)
