"""Looks after routes: takes canaries out that are worse than the rest, and fails jobs of withdrawn models.

Every worker has one; at any time one of them decides, the one that finds the watch free. What was decided stands in
Redis, where the API and the command line read it.
"""

from __future__ import annotations

from collections.abc import Callable

from darkroom.catalogue import Catalogue
from darkroom.job_store import JobStore
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.route_board import RouteBoard
from worker.periodic import Periodic

log = get_logger(__name__)
SECONDS = 5.0


class RouteWatch(Periodic):
    """One watching thread."""

    def __init__(
        self,
        board: RouteBoard,
        jobs: JobStore,
        *,
        catalogue: Callable[[], Catalogue],
        metrics: Metrics,
        seconds: float = SECONDS,
    ) -> None:
        """`catalogue` gives the catalogue as it is now."""
        super().__init__("routes", seconds=seconds)
        self._board = board
        self._jobs = jobs
        self._catalogue = catalogue
        self._metrics = metrics
        self._seconds = seconds

    def look(self) -> None:
        """Decide, where it is this process's turn, and show what was decided."""
        catalogue = self._catalogue()
        if self._board.holds_watch(self._seconds * 0.9):
            self._board.watch(catalogue.aliases.values())
            failed = self._jobs.withdraw(catalogue.withdrawn) if catalogue.withdrawn else 0
            if failed:
                log.warning("jobs_of_withdrawn_models_failed", jobs=failed)
        out = self._board.taken_out()
        self._metrics.canary_out.clear()
        for alias in catalogue.aliases.values():
            if alias.canary is not None:
                self._metrics.canary_out.labels(alias.name, alias.canary.model).set(alias.route in out)

    def round(self) -> float:
        try:
            self.look()
        except Exception as error:  # noqa: BLE001 - whatever happens, the next round must come
            log.warning("routes_not_watched", error=type(error).__name__)
        return self._seconds
