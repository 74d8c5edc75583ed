"""Turns what the engine tells into metrics. Called on the device thread, so it only counts."""

from __future__ import annotations

from darkroom.metrics import Metrics


class EngineMetrics:
    """An `EngineObserver` that feeds Prometheus."""

    def __init__(self, metrics: Metrics, *, max_rows: int) -> None:
        """`max_rows` is the most that a forward pass may have before anything is measured."""
        self._metrics = metrics
        self._max_rows = max_rows
        self._caps: dict[str, dict[str, int]] = {}  # of each model, by size
        self._tiers: dict[str, str] = {}  # memory tier of each model

    def step(self, model: str, *, rows: int, seconds: float, samples: int) -> None:  # noqa: ARG002 - the protocol's
        self._metrics.step_time.labels(model).observe(seconds)
        self._metrics.batch_rows.labels(model).observe(rows)
        self._metrics.occupancy.labels(model).observe(min(rows / self._most_rows(model), 1.0))
        self._metrics.engine_busy.inc(seconds)

    def alone(self, model: str, *, seconds: float) -> None:  # noqa: ARG002 - the protocol's
        self._metrics.engine_busy.inc(seconds)

    def admitted(self, model: str, wait_seconds: float) -> None:
        """Nothing: a wait for rows is short, because the worker claims only while there is room."""

    def retired(self, model: str, outcome: str) -> None:
        """Nothing: outcomes are counted by job, where they are committed."""

    def embedding_cache(self, *, hit: bool) -> None:
        self._metrics.embedding_lookups.labels("hit" if hit else "miss").inc()

    def model_loaded(self, model: str, *, weights: int, tier: str) -> None:
        self._metrics.model_loads.labels(model).inc()
        self._metrics.model_bytes.labels(model, tier).set(weights)
        self._tiers[model] = tier

    def model_evicted(self, model: str) -> None:
        self._metrics.model_evictions.labels(model).inc()
        self._metrics.model_bytes.labels(model, self._tiers[model]).set(0)

    def row_cap(self, model: str, size: str, rows: int) -> None:
        self._metrics.row_cap.labels(model, size).set(rows)
        self._caps.setdefault(model, {})[size] = rows

    def _most_rows(self, model: str) -> int:
        """A forward pass does not tell its size, so the size that may have most rows counts."""
        caps = self._caps.get(model)
        return min(self._max_rows, max(caps.values())) if caps else self._max_rows
