"""Where the vectors lie in the file of an embedding (textual inversion), by the header alone.

There is one tensor with a row for each vector, whatever its name (`emb_params` in stable-diffusion-webui's files, the
word itself in diffusers'), or, for models with two text encoders, one for each: `clip_l` and `clip_g`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from darkroom.errors import WeightsInvalid
from darkroom.prompt_chunks import CHUNK_TOKENS, MARKERS
from darkroom.safetensors_header import Header, TensorEntry, read_header

MAX_VECTORS = CHUNK_TOKENS - MARKERS  # as many as a chunk has room for
ENCODERS = ("clip_l", "clip_g")  # the names of the two tensors: for the first text encoder, for the second one


@dataclass(frozen=True)
class EmbeddingLayout:
    """The tensors of one embedding."""

    vectors: int  # the word's length in tokens
    tensors: tuple[TensorEntry, ...]  # one for each text encoder


def find_vectors(header: Header) -> EmbeddingLayout:
    """Which of the file's tensors are whose.

    Raises:
        WeightsInvalid: when it is no embedding that we read.
    """
    named: Mapping[str, TensorEntry] = {tensor.name: tensor for tensor in header.tensors}
    if set(named) == set(ENCODERS):
        tensors = tuple(named[name] for name in ENCODERS)
    elif len(named) == 1:
        tensors = header.tensors
    else:
        raise WeightsInvalid(f"its file must hold one tensor, or {' and '.join(ENCODERS)}")
    counts = {_vectors(tensor) for tensor in tensors}
    if len(counts) > 1:
        raise WeightsInvalid("its file must hold as many vectors for one text encoder as for the other")
    return EmbeddingLayout(counts.pop(), tensors)


def count_vectors(path: Path) -> int | None:
    """How many vectors the file holds; None where it can't be read or is no embedding."""
    try:
        with path.open("rb") as stream:
            return find_vectors(read_header(stream, file_bytes=path.stat().st_size)).vectors
    except (OSError, WeightsInvalid):
        return None


def _vectors(tensor: TensorEntry) -> int:
    shape = tensor.shape if len(tensor.shape) > 1 else (1, *tensor.shape)
    if len(shape) != 2 or not 1 <= shape[0] <= MAX_VECTORS or tensor.dtype == "I64":
        raise WeightsInvalid(f"its file must hold 1 to {MAX_VECTORS} vectors of floating-point numbers")
    return shape[0]
