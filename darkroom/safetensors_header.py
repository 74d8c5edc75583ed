"""The header of a safetensors file, read by rules that a hostile file can't bend.

The format is eight bytes of length, that many bytes of JSON, then the tensors' bytes without gaps. Everything that a
reader later relies on is checked here against limits and against the file's true size, before one tensor byte is read:
a file that passes can't make anybody read out of range or allocate more than it holds. Knows nothing of LoRA or torch.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn

from darkroom.errors import WeightsInvalid

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 4096
MAX_DIMENSIONS = 4
MAX_NAME_LENGTH = 256

# Bytes an element, of the types that adapters' files use: weights, and an alpha that some tools write as an integer.
DTYPE_BYTES: Mapping[str, int] = MappingProxyType({"F32": 4, "F16": 2, "BF16": 2, "I64": 8})

_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_ENTRY_KEYS = frozenset({"dtype", "shape", "data_offsets"})
_NAME = re.compile(rf"[A-Za-z0-9_.<>*\-]{{1,{MAX_NAME_LENGTH}}}")  # such a name may stand in messages and logs


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: where its bytes lie, and what they are."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int  # bytes, from the end of the header
    end: int


@dataclass(frozen=True)
class Header:
    """What a file says about itself, checked."""

    tensors: tuple[TensorEntry, ...]  # in the order of their bytes, which leave no gap
    metadata: Mapping[str, str]
    raw: bytes  # as read, length included: the file's hash covers it


def read_header(stream: BinaryIO, *, file_bytes: int) -> Header:
    """Read and check the header; the stream then stands at the first tensor byte.

    Raises:
        WeightsInvalid: naming the first thing that is wrong.
    """
    prefix = stream.read(_LENGTH_BYTES)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < _LENGTH_BYTES or not 2 <= length <= min(MAX_HEADER_BYTES, file_bytes - _LENGTH_BYTES):
        _refuse(f"the header must be 2 to {MAX_HEADER_BYTES} bytes long and end within the file")
    text = stream.read(length)
    if len(text) < length:
        _refuse("it ends within its header")
    document = _parse(text)
    metadata = _metadata(document.pop(_METADATA, {}))
    if not 1 <= len(document) <= MAX_TENSORS:
        _refuse(f"it must hold 1 to {MAX_TENSORS} tensors")
    entries = [_entry(name, value) for name, value in document.items()]
    entries.sort(key=lambda entry: entry.begin)
    _check_ranges(entries, data_bytes=file_bytes - _LENGTH_BYTES - length)
    return Header(tuple(entries), metadata, prefix + text)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # ValueError: bad UTF-8, bad JSON, integers of absurd length
        raise WeightsInvalid("its file is not valid: the header is not a JSON object") from error
    if not isinstance(document, dict):
        _refuse("the header is not a JSON object")
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):  # which of the two another reader takes is anybody's guess
        raise ValueError("a name occurs twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _metadata(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        _refuse("its metadata must be texts by name")
    return MappingProxyType(value)


def _entry(name: str, value: Any) -> TensorEntry:
    if not _NAME.fullmatch(name):
        _refuse(f"a tensor's name must be 1 to {MAX_NAME_LENGTH} letters, digits and characters of _.-<>*")
    if not isinstance(value, dict) or set(value) != _ENTRY_KEYS:
        _refuse(f"{name} must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        _refuse(f"{name} must be one of {', '.join(DTYPE_BYTES)}")
    if not _are_whole(shape, at_least=1) or len(shape) > MAX_DIMENSIONS:
        _refuse(f"{name} must have at most {MAX_DIMENSIONS} dimensions, each 1 or more")
    if not _are_whole(offsets, at_least=0) or len(offsets) != 2:
        _refuse(f"{name} must have two data offsets")
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPE_BYTES[dtype]:
        _refuse(f"{name} has other bytes than its shape and dtype need")
    return TensorEntry(name, dtype, tuple(shape), begin, end)


def _are_whole(values: Any, *, at_least: int) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= at_least for value in values)


def _check_ranges(entries: list[TensorEntry], *, data_bytes: int) -> None:
    """Tensors follow one another from the first byte to the last: nothing overlaps, nothing hides in a gap."""
    expected = 0
    for entry in entries:
        if entry.begin != expected:
            _refuse(f"{entry.name} does not begin where the tensor before it ends")
        expected = entry.end
    if expected != data_bytes:
        _refuse("its tensors do not fill the file to the end")


def _refuse(reason: str) -> NoReturn:
    raise WeightsInvalid(f"its file is not valid: {reason}")
