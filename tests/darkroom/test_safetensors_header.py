"""A hostile safetensors header is refused before any tensor is read, whatever it says."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from darkroom.errors import WeightsInvalid
from darkroom.safetensors_header import MAX_HEADER_BYTES, MAX_TENSORS, read_header


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


def read(header: Any, *, data: bytes = bytes(8), length: int | None = None) -> Any:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    whole = (len(text) if length is None else length).to_bytes(8, "little") + text + data
    return read_header(io.BytesIO(whole), file_bytes=len(whole))


def test_a_sound_header_tells_its_tensors_in_the_order_of_their_bytes() -> None:
    header = read(
        {
            "__metadata__": {"format": "pt"},
            "b": {"dtype": "F16", "shape": [2, 1], "data_offsets": [4, 8]},
            "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        }
    )

    assert [(tensor.name, tensor.shape, tensor.begin, tensor.end) for tensor in header.tensors] == [
        ("a", (), 0, 4),
        ("b", (2, 1), 4, 8),
    ]
    assert header.metadata == {"format": "pt"}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param({"a": entry(data_offsets=[8, 0])}, "other bytes than its shape", id="offsets backwards"),
        pytest.param({"a": entry(data_offsets=[-8, 0])}, "two data offsets", id="negative offset"),
        pytest.param({"a": entry(data_offsets=[0, 8.0])}, "two data offsets", id="fractional offset"),
        pytest.param({"a": entry(data_offsets=[0])}, "two data offsets", id="one offset"),
        pytest.param({"a": entry(data_offsets=[0, 4, 8])}, "two data offsets", id="three offsets"),
        pytest.param({"a": entry(data_offsets="08")}, "two data offsets", id="offsets as text"),
        pytest.param({"a": entry(data_offsets=[False, 8])}, "two data offsets", id="offset as a truth value"),
        pytest.param({"a": entry(data_offsets=[8, 16])}, "does not begin where", id="out of range"),
        pytest.param({"a": entry(shape=[4], data_offsets=[0, 16])}, "to the end", id="past the end"),
        pytest.param({"a": entry(), "b": entry()}, "does not begin where", id="overlapping"),
        pytest.param(
            {"a": entry(shape=[1], data_offsets=[0, 4]), "b": entry(shape=[1], data_offsets=[2, 6])},
            "does not begin where",
            id="half overlapping",
        ),
        pytest.param({"a": entry(shape=[1], data_offsets=[0, 4])}, "to the end", id="bytes left over"),
        pytest.param(
            {"a": entry(shape=[1], data_offsets=[4, 8])}, "does not begin where", id="bytes hidden at the front"
        ),
        pytest.param({"a": entry(dtype="F16")}, "other bytes than its shape", id="dtype lies"),
        pytest.param({"a": entry(dtype="F64", shape=[1])}, "must be one of", id="dtype not allowed"),
        pytest.param({"a": entry(dtype=["F32"])}, "must be one of", id="dtype not text"),
        pytest.param({"a": entry(shape=[3])}, "other bytes than its shape", id="shape lies"),
        pytest.param({"a": entry(shape=[0], data_offsets=[0, 0])}, "each 1 or more", id="zero dimension"),
        pytest.param({"a": entry(shape=[-2])}, "each 1 or more", id="negative dimension"),
        pytest.param({"a": entry(shape=[-1, -2])}, "each 1 or more", id="negative dimensions that multiply well"),
        pytest.param({"a": entry(shape=[True, 2])}, "each 1 or more", id="dimension as a truth value"),
        pytest.param({"a": entry(shape=[1e0, 2])}, "each 1 or more", id="fractional dimension"),
        pytest.param({"a": entry(shape=2)}, "each 1 or more", id="shape not a list"),
        pytest.param({"a": entry(shape=[1] * 5 + [2])}, "at most 4 dimensions", id="too many dimensions"),
        pytest.param({"a": entry(shape=[2**62, 2**62])}, "other bytes than its shape", id="size beyond 64 bits"),
        pytest.param({"a": {"dtype": "F32", "shape": [2]}}, "and nothing else", id="no offsets"),
        pytest.param({"a": entry(more=1)}, "and nothing else", id="one field more"),
        pytest.param({"a": [1, 2]}, "and nothing else", id="entry not an object"),
        pytest.param({"a\n": entry()}, "name must be", id="line break in a name"),
        pytest.param({"../../a/b": entry()}, "name must be", id="path in a name"),
        pytest.param({"": entry()}, "name must be", id="empty name"),
        pytest.param({"a" * 300: entry()}, "name must be", id="long name"),
        pytest.param({"ünet": entry()}, "name must be", id="letters beyond ASCII"),
        pytest.param({}, "1 to 4096 tensors", id="no tensors"),
        pytest.param(
            {str(index): entry(shape=[], data_offsets=[0, 4]) for index in range(MAX_TENSORS + 1)},
            "1 to 4096 tensors",
            id="too many tensors",
        ),
        pytest.param({"__metadata__": [], "a": entry()}, "texts by name", id="metadata not an object"),
        pytest.param({"__metadata__": {"x": {}}, "a": entry()}, "texts by name", id="metadata not texts"),
        pytest.param([1], "not a JSON object", id="not an object"),
        pytest.param(b"{" + b" " * 10, "not a JSON object", id="not JSON"),
        pytest.param(b'{"a": ' + b"[" * 100_000, "not a JSON object", id="deep lists"),
        pytest.param(b'{"a":' * 50_000, "not a JSON object", id="deep objects"),
        pytest.param(b'{"a": {}, "a": {}}', "not a JSON object", id="a name twice"),
        pytest.param(
            b'{"a": {"dtype": "F32", "shape": [2], "shape": [2], "data_offsets": [0, 8]}}',
            "not a JSON object",
            id="a field twice",
        ),
        pytest.param(b'{"a": NaN}', "not a JSON object", id="NaN in the header"),
        pytest.param(b'{"a": ' + b"9" * 10_000 + b"}", "not a JSON object", id="a number of 10,000 digits"),
        pytest.param(b'\xff\xfe{"a": 1}', "not a JSON object", id="not UTF-8"),
        pytest.param(b"\x80\x04\x95K\x00\x00\x00.", "not a JSON object", id="a pickle"),
    ],
)
def test_a_hostile_header_is_refused(header: Any, reason: str) -> None:
    with pytest.raises(WeightsInvalid, match=reason):
        read(header)


@pytest.mark.parametrize(
    "length",
    [0, 1, 10_000, MAX_HEADER_BYTES + 1, 2**63, 2**64 - 1],
    ids=["zero", "one", "beyond the file", "beyond the limit", "half of all", "all bits"],
)
def test_a_header_length_that_cannot_be_is_refused_without_reading_on(length: int) -> None:
    with pytest.raises(WeightsInvalid, match="must be 2 to"):
        read({"a": entry()}, length=length)


@pytest.mark.parametrize("whole", [b"", b"\x02", b"\x08\x00\x00\x00\x00\x00\x00\x00"])
def test_a_file_that_ends_before_its_header_is_refused(whole: bytes) -> None:
    with pytest.raises(WeightsInvalid):
        read_header(io.BytesIO(whole), file_bytes=len(whole))


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    with pytest.raises(WeightsInvalid, match="ends within its header"):
        read_header(io.BytesIO((100).to_bytes(8, "little") + b"{"), file_bytes=1000)
