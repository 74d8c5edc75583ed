"""Metrics: declared once, closed labels, documented."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from darkroom.jobs import Tier
from darkroom.metrics import Metrics, describe, metrics_table

ROOT = Path(__file__).parents[2]
CLOSED = {
    "tier", "model", "status", "outcome", "format", "result", "method", "route", "stage", "decision", "action", "size",
    "memory", "layer",
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

    text = generate_latest(metrics.registry).decode()
    assert 'darkroom_queue_depth_jobs{tier="preview"} 3.0' in text
    assert 'darkroom_running_jobs{tier="preview"} 2.0' in text
    assert 'darkroom_queue_oldest_seconds{tier="preview"} 1.5' in text
