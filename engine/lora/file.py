"""Reads one LoRA file into memory, trusting nothing that it says.

The header is checked against limits, then its names and shapes against the model, and only then are weights read:
tensor by tensor, straight into the model's dtype, so that memory stays within what the limits allow. The bytes are read
once, from one open file, and their SHA-256 must be the catalogue's. Only safetensors by content is understood; nothing
in a file is ever executed, and nothing stays mapped.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import torch

from darkroom.errors import AdapterInvalid, AdapterMismatch
from engine.lora.formats import Pair, Scaling, match, matrix_shapes
from engine.lora.header import TensorEntry, read_header
from engine.lora.layer import Delta
from engine.lora.targets import Place, Targets

MAX_FILE_BYTES = 512 << 20

_DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
)
# PyTorch spreads larger pieces over threads. The reading thread must not get such a team: beside the device thread's
# own it would be more threads than cores, and slow the batch's steps for as long as the file is read.
_PIECE_ELEMENTS = 16384


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
        with _opened(Path(file.path)) as (stream, size):
            return _read(stream, size, file.sha256, targets, device)
    except (AdapterInvalid, AdapterMismatch) as error:
        raise type(error)(f"adapter {file.name}: {error.detail}") from None
    except OSError as error:
        raise AdapterInvalid(f"adapter {file.name}: its file can't be read: {error.strerror}") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file and its size, once it is known to be a plain file of a sane size."""
    # Without O_NONBLOCK, opening a named pipe would wait for ever.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise AdapterInvalid("its path is not a plain file")
        if status.st_size > MAX_FILE_BYTES:
            raise AdapterInvalid(f"its file is larger than {MAX_FILE_BYTES >> 20} MiB")
        yield stream, status.st_size


def _read(stream: BinaryIO, size: int, sha256: str, targets: Targets, device: torch.device) -> Adapter:
    header = read_header(stream, file_bytes=size)
    pairs = match(header, targets)
    scaling = Scaling(header.metadata)
    forms = _forms(pairs, targets)
    digest = hashlib.sha256(header.raw)
    tensors: dict[str, torch.Tensor] = {}
    for entry in header.tensors:
        raw = _exactly(stream, entry.end - entry.begin)
        digest.update(raw)
        tensors[entry.name] = _converted(raw, entry, forms[entry.name])
    if stream.read(1) or digest.hexdigest() != sha256:
        raise AdapterInvalid("its file is not the one that the catalogue lists: the SHA-256 differs")
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


def _exactly(stream: BinaryIO, size: int) -> bytearray:
    raw = bytearray(size)
    if stream.readinto(raw) != size:  # type: ignore[attr-defined]
        raise AdapterInvalid("its file ended while it was read")
    return raw


def _converted(raw: bytearray, entry: TensorEntry, into: torch.Tensor) -> torch.Tensor:
    source = torch.frombuffer(raw, dtype=_DTYPES[entry.dtype])
    target = into.view(-1)
    for start in range(0, len(target), _PIECE_ELEMENTS):
        part = target[start : start + _PIECE_ELEMENTS]
        part.copy_(source[start : start + _PIECE_ELEMENTS])
        if not torch.isfinite(part).all():
            raise AdapterInvalid(
                f"its file is not valid: {entry.name} holds NaN, or numbers too large for {into.dtype}"
            )
    return into


def _delta(pair: Pair, tensors: Mapping[str, torch.Tensor], scaling: Scaling, device: torch.device) -> Delta:
    alpha = None if pair.alpha is None else float(tensors[pair.alpha.name])
    down, up = (tensors[entry.name].to(device) for entry in (pair.down, pair.up))
    return Delta(down, up, scaling.factor(pair, alpha))
