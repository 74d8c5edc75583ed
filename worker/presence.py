"""Tells operators that this process is alive and how full it is.

Decides nothing, so what fails here is only noted; a process that ends just falls silent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from darkroom.jobs import Tier
from darkroom.logs import get_logger
from darkroom.worker_registry import WorkerRegistry, WorkerState
from engine import Engine
from worker.drain import Drain
from worker.hands import Hands
from worker.periodic import Periodic

log = get_logger(__name__)
SECONDS = 2.0


class Presence(Periodic):
    """One worker's line in the list of workers."""

    def __init__(
        self,
        registry: WorkerRegistry,
        engine: Engine,
        hands: Hands,
        drain: Drain,
        *,
        name: str,
        tiers: Callable[[], Sequence[Tier]],
        places: int,
    ) -> None:
        super().__init__("presence", seconds=0.0)
        self._registry = registry
        self._engine = engine
        self._hands = hands
        self._drain = drain
        self._name = name
        self._tiers = tiers
        self._places = places

    def state(self) -> WorkerState:
        stats = self._engine.stats()
        return WorkerState(
            name=self._name,
            tiers=tuple(map(str, self._tiers())),
            device=str(self._engine.device),
            models=stats.models,
            places=self._places,
            jobs=self._hands.jobs,
            samples=stats.running,
            waiting=stats.waiting,
            rows=stats.rows,
            max_rows=stats.max_rows,
            steps=stats.steps,
            draining=self._drain.begun,
            row_cap=min(stats.row_caps.values(), default=None),
        )

    def round(self) -> float:
        try:
            self._registry.announce(self.state())
        except Exception as error:  # noqa: BLE001 - whatever happens, the next round must come
            log.debug("presence_failed", error=type(error).__name__)
        return SECONDS
