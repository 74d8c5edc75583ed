"""What the engine tells, as metrics."""

from __future__ import annotations

from darkroom.metrics import Metrics
from engine import Engine, EngineObserver, PipelineSpec
from tests.engine.factories import make_request
from worker.observer import EngineMetrics


def test_every_forward_of_a_real_engine_is_measured(tiny_model: str) -> None:
    metrics = Metrics()
    observer: EngineObserver = EngineMetrics(metrics, max_rows=4)
    with Engine({"tiny": PipelineSpec("tiny", str(tiny_model))}, device="cpu", observer=observer) as engine:
        for _ in range(2):
            engine.submit("tiny", make_request(num_inference_steps=3)).future.result(timeout=60)

    def value(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(name, labels) or 0.0

    assert value("darkroom_step_time_seconds_count", model="tiny") == 6
    assert value("darkroom_batch_rows_sum", model="tiny") == 12
    assert value("darkroom_batch_occupancy_ratio_sum", model="tiny") == 6 * 2 / 4
    assert value("darkroom_engine_busy_seconds_total") > 0
    assert value("darkroom_embedding_lookups_total", result="miss") == 2
    assert value("darkroom_embedding_lookups_total", result="hit") == 2


def test_models_and_row_caps_are_measured() -> None:
    metrics = Metrics()
    observer = EngineMetrics(metrics, max_rows=16)

    observer.model_loaded("tiny", weights=1_000, tier="full")
    observer.model_loaded("other", weights=2_000, tier="slicing")
    observer.model_evicted("tiny")
    observer.row_cap("other", "64x64", 6)

    value = metrics.registry.get_sample_value
    assert value("darkroom_model_bytes", {"model": "tiny", "memory": "full"}) == 0
    assert value("darkroom_model_bytes", {"model": "other", "memory": "slicing"}) == 2_000
    assert value("darkroom_model_loads_total", {"model": "tiny"}) == 1
    assert value("darkroom_model_evictions_total", {"model": "tiny"}) == 1
    assert value("darkroom_row_cap", {"model": "other", "size": "64x64"}) == 6


def test_occupancy_is_of_the_measured_rows_where_they_are_fewer() -> None:
    metrics = Metrics()
    observer = EngineMetrics(metrics, max_rows=16)

    observer.step("tiny", rows=4, seconds=0.1, samples=2)
    observer.row_cap("tiny", "64x64", 8)
    observer.row_cap("tiny", "128x128", 2)
    observer.step("tiny", rows=4, seconds=0.1, samples=2)

    assert metrics.registry.get_sample_value("darkroom_batch_occupancy_ratio_sum", {"model": "tiny"}) == 0.25 + 0.5
