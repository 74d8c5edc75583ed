"""Reads tensors from a safetensors file that nobody trusts.

After its header was checked, weights are read tensor by tensor, straight into the shapes and dtypes that the caller
wants, so that memory stays within what its limits allow. The bytes are read once, from one open file, and their SHA-256
must be the catalogue's. Nothing in a file is ever executed, and nothing stays mapped.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import torch

from darkroom.errors import WeightsInvalid
from darkroom.safetensors_header import Header, TensorEntry

_DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
)
# PyTorch spreads larger pieces over threads. The reading thread must not get such a team: beside the device thread's
# own it would be more threads than cores, and slow the batch's steps for as long as the file is read.
_PIECE_ELEMENTS = 16384


@contextmanager
def opened(path: Path, *, max_bytes: int) -> Iterator[tuple[BinaryIO, int]]:
    """The file and its size, once it is known to be a plain file of a sane size.

    Raises:
        WeightsInvalid: when it is not, or can't be read.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise WeightsInvalid("its path is not a plain file")
            if status.st_size > max_bytes:
                raise WeightsInvalid(f"its file is larger than {max_bytes >> 20} MiB")
            yield stream, status.st_size
    except OSError as error:
        raise WeightsInvalid(f"its file can't be read: {error.strerror}") from error


def read_tensors(
    stream: BinaryIO, header: Header, forms: Mapping[str, torch.Tensor], *, sha256: str
) -> dict[str, torch.Tensor]:
    """Read all tensors behind the header, each into the empty tensor of its name.

    Raises:
        WeightsInvalid: when a number is not finite, or the file is not the one that `sha256` names.
    """
    digest = hashlib.sha256(header.raw)
    tensors: dict[str, torch.Tensor] = {}
    for entry in header.tensors:
        raw = _exactly(stream, entry.end - entry.begin)
        digest.update(raw)
        tensors[entry.name] = _converted(raw, entry, forms[entry.name])
    if stream.read(1) or digest.hexdigest() != sha256:
        raise WeightsInvalid("its file is not the one that the catalogue lists: the SHA-256 differs")
    return tensors


def _exactly(stream: BinaryIO, size: int) -> bytearray:
    raw = bytearray(size)
    if stream.readinto(raw) != size:  # type: ignore[attr-defined]
        raise WeightsInvalid("its file ended while it was read")
    return raw


def _converted(raw: bytearray, entry: TensorEntry, into: torch.Tensor) -> torch.Tensor:
    source = torch.frombuffer(raw, dtype=_DTYPES[entry.dtype])
    target = into.view(-1)
    for start in range(0, len(target), _PIECE_ELEMENTS):
        part = target[start : start + _PIECE_ELEMENTS]
        part.copy_(source[start : start + _PIECE_ELEMENTS])
        if not torch.isfinite(part).all():
            raise WeightsInvalid(
                f"its file is not valid: {entry.name} holds NaN, or numbers too large for {into.dtype}"
            )
    return into
