"""Reads one LoRA file into memory, trusting nothing that it says.

The header is checked against limits, then its names and shapes against the model, and only then are weights read, into
the model's dtype. Only safetensors by content is understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import torch

from darkroom.errors import AdapterInvalid, AdapterMismatch, WeightsInvalid
from darkroom.safetensors_header import read_header
from engine.lora.formats import Pair, Scaling, match, matrix_shapes
from engine.lora.mixed import Delta
from engine.lora.targets import Place, Targets
from engine.safetensors_file import opened, read_tensors

MAX_FILE_BYTES = 512 << 20


@dataclass(frozen=True)
class AdapterFile:
    """One LoRA that an operator has installed."""

    name: str
    model: str  # the model that it was trained for
    path: str | Path
    sha256: str  # of the whole file, in small hex digits


@dataclass(frozen=True)
class Adapter:
    """One LoRA in memory, fit for its model."""

    deltas: Mapping[Place, Delta]
    parts: frozenset[str]  # the networks that it changes
    weight_bytes: int


def read_adapter(file: AdapterFile, targets: Targets, device: torch.device) -> Adapter:
    """Read and check a file for the model that `targets` describes.

    Raises:
        AdapterMismatch: when the file is for another model.
        AdapterInvalid: when it can't be read, is not what the catalogue lists, or is no LoRA that we read.
    """
    try:
        with opened(Path(file.path), max_bytes=MAX_FILE_BYTES) as (stream, size):
            return _read(stream, size, file.sha256, targets, device)
    except AdapterMismatch as error:
        raise AdapterMismatch(f"adapter {file.name}: {error.detail}") from None
    except WeightsInvalid as error:
        raise AdapterInvalid(f"adapter {file.name}: {error.detail}") from error.__cause__


def _read(stream: BinaryIO, size: int, sha256: str, targets: Targets, device: torch.device) -> Adapter:
    header = read_header(stream, file_bytes=size)
    pairs = match(header, targets)
    scaling = Scaling(header.metadata)
    forms = _forms(pairs, targets)
    tensors = read_tensors(stream, header, forms, sha256=sha256)
    deltas = {pair.place: _delta(pair, tensors, scaling, device) for pair in pairs}
    return Adapter(
        MappingProxyType(deltas),
        frozenset(place.part for place in deltas),
        sum(delta.down.nbytes + delta.up.nbytes for delta in deltas.values()),
    )


def _forms(pairs: tuple[Pair, ...], targets: Targets) -> dict[str, torch.Tensor]:
    """An empty tensor for each of the file's, in the shape and dtype that the model's layer wants."""
    forms: dict[str, torch.Tensor] = {}
    for pair in pairs:
        layer = targets.layers[pair.place]
        for entry, shape in zip((pair.down, pair.up), matrix_shapes(layer, pair.rank), strict=True):
            forms[entry.name] = torch.empty(shape, dtype=layer.weight.dtype)
        if pair.alpha is not None:
            forms[pair.alpha.name] = torch.empty((), dtype=torch.float64)
    return forms


def _delta(pair: Pair, tensors: Mapping[str, torch.Tensor], scaling: Scaling, device: torch.device) -> Delta:
    alpha = None if pair.alpha is None else float(tensors[pair.alpha.name])
    down, up = (tensors[entry.name].to(device) for entry in (pair.down, pair.up))
    return Delta(down, up, scaling.factor(pair, alpha))
