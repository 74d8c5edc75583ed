"""The device's memory and load are read at the scrape."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from prometheus_client import generate_latest

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


class NotSupportedError(Exception):
    """What NVML raises for a figure that a board does not tell."""


def board(uuid: str) -> SimpleNamespace:
    """NVML as its package answers, for a board that tells no power; a machine with a GPU runs the test below too."""
    handles = {f"GPU-{uuid}": "handle"}

    def power(_: str) -> int:
        raise NotSupportedError

    return SimpleNamespace(
        NVML_TEMPERATURE_GPU=0,
        NVMLError=NotSupportedError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handles.__getitem__,
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=40),
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=3_000, total=8_000),
        nvmlDeviceGetTemperature=lambda _, _sensor: 61,
        nvmlDeviceGetPowerUsage=power,
    )


def test_a_gpu_is_found_by_its_uuid_and_one_silent_figure_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    monkeypatch.setitem(sys.modules, "pynvml", board("1f-2e"))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="1f-2e"))

    watch_device(metrics, torch.device("cuda", 1))

    generate_latest(metrics.registry)  # a scrape
    assert value(metrics, "darkroom_device_memory_bytes", device="cuda:1", kind="used") == 3_000
    assert value(metrics, "darkroom_device_memory_bytes", device="cuda:1", kind="total") == 8_000
    assert value(metrics, "darkroom_device_utilisation_ratio", device="cuda:1") == 0.4
    assert value(metrics, "darkroom_gpu_temperature_celsius", device="cuda:1") == 61
    assert math.isnan(value(metrics, "darkroom_gpu_power_watts", device="cuda:1"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
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
