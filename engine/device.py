"""The device: which one, and at which precision."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from types import MappingProxyType

import torch

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
)
# By device type, for dtype "auto": CPUs have no fast fp16 arithmetic.
DEFAULT_DTYPES: Mapping[str, torch.dtype] = MappingProxyType({"cuda": torch.float16, "cpu": torch.float32})


def choose_device(name: str) -> torch.device:
    """The named device, or for "auto" the GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The named dtype, or for "auto" the one that suits the device."""
    if name == "auto":
        return DEFAULT_DTYPES.get(device.type, torch.float32)
    if name not in DTYPES:
        raise ValueError(f"dtype must be auto, {', '.join(DTYPES)}; not {name}")
    return DTYPES[name]


def free_memory() -> None:
    """Hand cached blocks back, so that a smaller batch finds room in one piece."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
