"""The manifests' autoscalers: valid by their schemas, and fed with figures that the code gives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from darkroom.metrics import Metrics, describe
from tests.deploy.kustomize import KUBERNETES, Manifest, render
from tests.deploy.pods import one, pods

KEDA = Path(__file__).parent / "keda"


@pytest.fixture
def scaled() -> list[Manifest]:
    return render(KUBERNETES / "overlays" / "keda")


def closed(schema: Any) -> Any:
    """The schema, but nothing may be there that it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    known = {key: closed(value) for key, value in schema.items()}
    return known | {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else known


def test_scaling_is_valid_by_kedas_schema(scaled: list[Manifest]) -> None:
    schema = closed(json.loads((KEDA / "scaledobject.json").read_text()))
    scaler = one(scaled, "ScaledObject", "darkroom-worker")

    metadata = scaler.pop("metadata")
    jsonschema.Draft7Validator(schema).validate(scaler)
    assert set(metadata) == {"name", "namespace"}


def test_the_trigger_has_what_the_prometheus_scaler_asks_for(scaled: list[Manifest]) -> None:
    parameters = json.loads((KEDA / "prometheus_scaler.json").read_text())["parameters"]
    (trigger,) = one(scaled, "ScaledObject", "darkroom-worker")["spec"]["triggers"]
    needed = {entry["name"] for entry in parameters if not entry.get("optional") and "default" not in entry}

    assert trigger["type"] == "prometheus"
    assert needed <= set(trigger["metadata"]) <= {entry["name"] for entry in parameters}
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_workers_are_scaled_on_what_waits_and_what_runs(scaled: list[Manifest]) -> None:
    query = one(scaled, "ScaledObject", "darkroom-worker")["spec"]["triggers"][0]["metadata"]["query"]
    gauges = {info.name: info for info in describe(Metrics()) if info.kind == "gauge"}
    named = set(re.findall(r"\bdarkroom_\w+", query))

    assert named == {"darkroom_queue_depth_jobs", "darkroom_running_jobs"}
    assert all(gauges[name].labels == ("tier",) for name in named)


def test_a_worker_is_added_before_the_others_are_full(scaled: list[Manifest]) -> None:
    spec = one(scaled, "ScaledObject", "darkroom-worker")["spec"]
    concurrency = int(pods(scaled)["darkroom-worker"].environment(scaled)["DARKROOM_WORKER_CONCURRENCY"])

    assert 0 < float(spec["triggers"][0]["metadata"]["threshold"]) <= concurrency


def test_the_scaler_owns_the_number_and_leaves_one_to_tell_the_depth(scaled: list[Manifest]) -> None:
    spec = one(scaled, "ScaledObject", "darkroom-worker")["spec"]

    assert "replicas" not in one(scaled, "Deployment", spec["scaleTargetRef"]["name"])["spec"]
    assert 1 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_no_figures_are_no_zero(scaled: list[Manifest]) -> None:
    (trigger,) = one(scaled, "ScaledObject", "darkroom-worker")["spec"]["triggers"]

    assert trigger["metadata"]["ignoreNullValues"] == "false"  # so that the fallback steps in, not the least number
    assert trigger["metricType"] == "AverageValue"  # the only kind that KEDA has a fallback for
