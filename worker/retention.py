"""Ends what was kept long enough: ended jobs' records move beside their images; in the end jobs go with their files.

One elected process does it, with several calls to the object store at once, for that answers slowly, and in a thread of
its own, for the reaper must not wait. What is due, the job store knows.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from multiprocessing.pool import ThreadPool

import redis

from darkroom.election import Election
from darkroom.job_store import JobStore
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.object_store import ObjectStore, delete_job_files
from worker.periodic import Periodic

log = get_logger(__name__)

LEASE = "darkroom:retention"
LEASE_SECONDS = 60.0  # longer than a round, which takes what is due in portions
HANDS = 8


class Retention(Periodic):
    """One candidate's thread."""

    def __init__(
        self,
        store: JobStore,
        objects: ObjectStore,
        client: redis.Redis,
        *,
        name: str,
        seconds: float,
        metrics: Metrics,
    ) -> None:
        """`name` is the process's own among all candidates, `seconds` the pause where nothing is due."""
        super().__init__("retention", seconds=seconds)
        self._store = store
        self._objects = objects
        self._election = Election(client, LEASE, name=name, seconds=LEASE_SECONDS)
        self._seconds = seconds
        self._metrics = metrics

    def round(self) -> float:
        try:
            more = self._election.won() and self.tidy()
        except Exception as error:  # noqa: BLE001 - whatever happens, the next round must come
            log.warning("retention_failed", error=type(error).__name__)
            more = False
        return 0.0 if more else self._seconds

    def tidy(self) -> bool:
        """Do a portion of what is due; whether there was any."""
        with ThreadPool(HANDS) as hands:  # such threads don't hold up the end of the process
            done = asdict(self._store.tidy(partial(delete_job_files, self._objects), hands=hands))
        for action, jobs in done.items():
            self._metrics.reaper_actions.labels(action).inc(jobs)
        if any(done.values()):
            log.info("tidied", **done)
        return any(done.values())

    def stop(self) -> None:
        """End after the portion under way, and leave the rest to another process."""
        super().stop()
        self._election.leave()
