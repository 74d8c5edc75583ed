"""Follows the catalogue's file while the worker runs.

A model more is loaded, then claimed for; a model less is claimed for no longer, and its jobs in hand go on. What can't
be changed in a running engine (another source, adapters, embeddings) makes the process give way to a new one, one
process of all at a time. A file that is not valid, or a model that can't be loaded, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import redis

from darkroom.catalogue import Catalogue, ModelSpec
from darkroom.catalogue_watch import LOOK_SECONDS, CatalogueWatch
from darkroom.errors import DarkroomError, JobStoreUnavailable
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.redis_client import redis_errors
from engine import Engine, PipelineSpec
from worker.drain import Drain
from worker.periodic import Periodic
from worker.tasks import Work

log = get_logger(__name__)
TURN = "darkroom:reloading"
TURN_SECONDS = 30  # in which one worker of all gives way to a new one


class CatalogueFollower(Periodic):
    """One process's look at the file now and then."""

    def __init__(
        self,
        watch: CatalogueWatch,
        *,
        engine: Engine,
        work: Work,
        drain: Drain,
        client: redis.Redis,
        pipeline: Callable[[ModelSpec, Catalogue], PipelineSpec],
        metrics: Metrics,
    ) -> None:
        """`pipeline` makes of a catalogue's entry what the engine takes."""
        super().__init__("catalogue", seconds=LOOK_SECONDS)
        self._watch = watch
        self._engine = engine
        self._work = work
        self._drain = drain
        self._redis = client
        self._pipeline = pipeline
        self._metrics = metrics
        self._built = watch.now  # what the engine was built from, and every model that it was given since

    def round(self) -> float | None:
        if self._drain.begun:
            return None
        try:
            if self._watch.look(self._accept):
                self._metrics.catalogue_reloads.inc()
        except Exception as error:  # noqa: BLE001 - what counted before goes on counting
            log.warning("catalogue_not_followed", error=type(error).__name__)
        return LOOK_SECONDS

    def _accept(self, _before: Catalogue, after: Catalogue) -> bool:
        """Carry the change out; False where that has to wait, or can't be done."""
        if not _fits(self._built, after):
            if self._has_turn():
                self._drain.replace("the catalogue says something else of what is loaded")
            return False
        new = {name: spec for name, spec in after.models.items() if name not in self._built.models}
        try:
            for spec in new.values():
                self._engine.add(self._pipeline(spec, after))
            self._engine.preload(sorted(new))
        except DarkroomError as error:
            log.warning("catalogue_not_taken", reason=error.detail)
            return False
        self._built = after.model_copy(update={"models": {**self._built.models, **after.models}})
        self._work.serve(after.models)
        return True

    def _has_turn(self) -> bool:
        try:
            with redis_errors():
                return bool(self._redis.set(TURN, "1", nx=True, ex=TURN_SECONDS))
        except JobStoreUnavailable:
            return False


def _fits(built: Catalogue, after: Catalogue) -> bool:
    """Whether an engine built from the one can serve the other, given the models that are new."""
    if (built.adapters, built.embeddings) != (after.adapters, after.embeddings):
        return False
    return all(_loaded_part(built.models[name]) == _loaded_part(spec) for name, spec in after.models.items()
               if name in built.models)  # fmt: skip


def _loaded_part(spec: ModelSpec) -> tuple[object, ...]:
    return spec.source, spec.family, spec.dtype, spec.memory, spec.inpaint, spec.native_sizes
