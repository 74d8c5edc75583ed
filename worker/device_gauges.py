"""The engine's device in metrics: memory, how busy it is, and of a GPU its power and temperature.

A GPU is asked by NVML where its package is installed (extra `gpu`), else only torch can tell its memory. Without a
GPU the device is this machine. Everything is read when a scrape asks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from darkroom.logs import get_logger
from darkroom.metrics import Metrics

log = get_logger(__name__)
MILLIWATTS = 1_000


def watch_device(metrics: Metrics, device: torch.device) -> None:
    """Let the metrics read the device."""
    if device.type != "cuda":
        _watch_machine(metrics, device.type)
        return
    index = torch.cuda.current_device() if device.index is None else device.index
    name, nvml = f"cuda:{index}", _nvml_handle(index)
    if nvml is None:
        _memory(metrics, name, lambda: _torch_memory(index))
        return
    library, handle = nvml
    _memory(metrics, name, lambda: _nvml_memory(library, handle))
    for gauge, read in (
        (metrics.device_utilisation, lambda: library.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
        (metrics.gpu_power, lambda: library.nvmlDeviceGetPowerUsage(handle) / MILLIWATTS),
        (metrics.gpu_temperature, lambda: library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU)),
    ):
        gauge.labels(name).set_function(_where_told(read, library.NVMLError))


def _where_told(read: Callable[[], float], silent: type[Exception]) -> Callable[[], float]:
    """Some boards tell less than others; one figure that is missing must not cost the scrape all others."""

    def told() -> float:
        try:
            return read()
        except silent:
            return math.nan

    return told


def _watch_machine(metrics: Metrics, name: str) -> None:
    _memory(metrics, name, _machine_memory)
    cores = os.cpu_count() or 1
    metrics.device_utilisation.labels(name).set_function(lambda: min(os.getloadavg()[0] / cores, 1.0))


def _memory(metrics: Metrics, name: str, read: Callable[[], tuple[float, float]]) -> None:
    metrics.device_memory.labels(name, "used").set_function(lambda: read()[0])
    metrics.device_memory.labels(name, "total").set_function(lambda: read()[1])


def _machine_memory() -> tuple[float, float]:
    """What this process holds, and what the machine has."""
    page = os.sysconf("SC_PAGE_SIZE")
    statm = Path("/proc/self/statm")
    used = int(statm.read_text().split()[1]) * page if statm.exists() else 0
    return used, os.sysconf("SC_PHYS_PAGES") * page


def _torch_memory(index: int) -> tuple[float, float]:
    free, total = torch.cuda.mem_get_info(index)
    return total - free, total


def _nvml_memory(library: Any, handle: Any) -> tuple[float, float]:
    info = library.nvmlDeviceGetMemoryInfo(handle)
    return info.used, info.total


def _nvml_handle(index: int) -> tuple[Any, Any] | None:
    """NVML and its name for the GPU; by UUID, for torch counts only the GPUs that it may see."""
    try:
        import pynvml  # noqa: PLC0415 -- an extra that may be missing
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(index).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        pynvml.nvmlDeviceGetUtilizationRates(handle)
    except pynvml.NVMLError as error:
        log.warning("gpu_not_measured", error=str(error))
        return None
    return pynvml, handle
