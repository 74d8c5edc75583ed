"""Metrics: declared once, closed labels, documented."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from darkroom.jobs import Tier
from darkroom.metrics import Metrics, describe, metrics_table

ROOT = Path(__file__).parents[2]
CLOSED = {
    "region",  # of the installation: one a process
    "tier", "model", "status", "outcome", "format", "result", "method", "route", "stage", "decision", "action", "size",
    "memory", "layer", "category", "device", "kind", "operation", "owner", "currency", "alias", "certificate",
    "part", "rating",
}  # fmt: skip


def test_metrics_page_equals_the_code() -> None:
    assert metrics_table() in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_names_are_darkroom_nouns_and_labels_come_from_closed_sets() -> None:
    infos = describe(Metrics())

    assert len({info.name for info in infos}) == len(infos) >= 20
    assert all(info.name.startswith("darkroom_") for info in infos)
    assert {label for info in infos for label in info.labels} <= CLOSED


def test_two_metrics_on_one_registry_collide_and_on_two_do_not() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    Metrics()

    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry)


def test_queue_gauges_are_set_per_tier() -> None:
    metrics = Metrics()

    metrics.observe_queues({Tier.PREVIEW: (3, 2, 1.5)})
    metrics.tell(True)

    text = generate_latest(metrics.registry).decode()
    assert 'darkroom_queue_depth_jobs{tier="preview"} 3.0' in text
    assert 'darkroom_running_jobs{tier="preview"} 2.0' in text
    assert 'darkroom_queue_oldest_seconds{tier="preview"} 1.5' in text


def test_what_is_true_of_the_whole_service_is_shown_by_the_elected_process_alone() -> None:
    metrics = Metrics()
    metrics.observe_queues({Tier.PREVIEW: (3, 2, 1.5)})
    metrics.observe_review(4, 60.0, 1)

    silent = generate_latest(metrics.registry).decode()
    metrics.tell(True)
    told = generate_latest(metrics.registry).decode()

    assert "darkroom_queue_depth_jobs" not in silent
    assert "darkroom_review_items" not in silent
    assert "darkroom_engine_samples 0.0" in silent
    assert "darkroom_review_items 4.0" in told
