"""The device's memory and load are read at the scrape."""

from __future__ import annotations

import pytest
import torch

from darkroom.metrics import Metrics
from worker.device_gauges import watch_device


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None, (name, labels)
    return found


def test_without_a_gpu_the_machine_is_the_device() -> None:
    metrics = Metrics()

    watch_device(metrics, torch.device("cpu"))

    used = value(metrics, "darkroom_device_memory_bytes", device="cpu", kind="used")
    assert 10_000_000 < used < value(metrics, "darkroom_device_memory_bytes", device="cpu", kind="total")
    assert 0 <= value(metrics, "darkroom_device_utilisation_ratio", device="cpu") <= 1
    assert metrics.registry.get_sample_value("darkroom_gpu_power_watts", {"device": "cpu"}) is None


@pytest.mark.gpu
def test_a_gpu_tells_memory_load_power_and_temperature() -> None:
    pytest.importorskip("pynvml")
    metrics = Metrics()
    held = torch.zeros(256 * 1024 * 1024, dtype=torch.uint8, device="cuda")

    watch_device(metrics, held.device)

    memory = {
        kind: value(metrics, "darkroom_device_memory_bytes", device="cuda:0", kind=kind) for kind in ("used", "total")
    }
    assert held.numel() < memory["used"] < memory["total"]
    assert abs(memory["total"] / torch.cuda.mem_get_info()[1] - 1) < 0.1
    assert 0 <= value(metrics, "darkroom_device_utilisation_ratio", device="cuda:0") <= 1
    assert 10 < value(metrics, "darkroom_gpu_temperature_celsius", device="cuda:0") < 120
    assert value(metrics, "darkroom_gpu_power_watts", device="cuda:0") > 5
