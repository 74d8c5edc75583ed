"""Textual inversion (Gal et al. 2022): words of an operator's own, each a few vectors in the places of tokens.

A word's file is read as carefully as a LoRA's: header against limits, shapes against the model's text encoders, every
number finite, the catalogue's SHA-256. One that can't be used spoils its own word and no other. Neither the model's
vocabulary nor its weights are touched: `vectors_in_place` puts the vectors into one forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from darkroom.embedding_layout import EmbeddingLayout, find_vectors
from darkroom.errors import EmbeddingInvalid, WeightsInvalid
from darkroom.logs import get_logger
from darkroom.safetensors_header import read_header
from engine.safetensors_file import opened, read_tensors

log = get_logger(__name__)

MAX_FILE_BYTES = 8 << 20

Places = Mapping[tuple[int, int], torch.Tensor]  # (row, token) of a forward -> the vector that stands there


@dataclass(frozen=True)
class EmbeddingFile:
    """One embedding that an operator has installed."""

    name: str
    token: str  # the word that calls it up
    path: str | Path
    sha256: str  # of the whole file, in small hex digits


@dataclass(frozen=True)
class Word:
    """One word that an embedding adds to a model's vocabulary."""

    vectors: int
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict, repr=False)  # text encoder -> (vectors, width)
    fault: str | None = None  # why it can't be used

    def vector(self, index: int, *, encoder: str) -> torch.Tensor:
        """One of its vectors, for one of the model's text encoders.

        Raises:
            EmbeddingInvalid: when its file can't be used.
        """
        if self.fault is not None:
            raise EmbeddingInvalid(self.fault)
        return self.tensors[encoder][index]


def read_words(files: Iterable[EmbeddingFile], encoders: Mapping[str, Any]) -> dict[str, Word]:
    """The words that these files add to a model with these text encoders, first one first."""
    return {file.token: _read_word(file, encoders) for file in files}


@contextmanager
def vectors_in_place(encoder: Any, places: Places) -> Iterator[None]:
    """For as long as this lasts, the encoder finds these vectors in the places of its tokens' own."""
    if not places:
        yield
        return
    rows, tokens = zip(*places, strict=True)
    vectors = torch.stack(list(places.values()))

    def put(_module: torch.nn.Module, _inputs: object, embedded: torch.Tensor) -> torch.Tensor:
        changed = embedded.clone()
        changed[list(rows), list(tokens)] = vectors.to(changed)
        return changed

    hook = encoder.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        hook.remove()


def _read_word(file: EmbeddingFile, encoders: Mapping[str, Any]) -> Word:
    try:
        with opened(Path(file.path), max_bytes=MAX_FILE_BYTES) as (stream, size):
            header = read_header(stream, file_bytes=size)
            layout = find_vectors(header)
            forms = _forms(layout, encoders)
            tensors = read_tensors(stream, header, forms, sha256=file.sha256)
    except WeightsInvalid as error:
        log.error("embedding_refused", embedding=file.name, reason=error.detail)  # noqa: TRY400 - no fault of ours
        return Word(vectors=1, fault=f"embedding {file.name}: {error.detail}")
    return Word(
        layout.vectors,
        {
            name: tensors[entry.name].reshape(layout.vectors, -1)
            for name, entry in zip(encoders, layout.tensors, strict=True)
        },
    )


def _forms(layout: EmbeddingLayout, encoders: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """An empty tensor for each of the file's, once they are known to fit the text encoders."""
    if len(layout.tensors) != len(encoders):
        raise WeightsInvalid(f"its file is for {len(layout.tensors)} text encoder(s); the model has {len(encoders)}")
    forms = {}
    for entry, (name, encoder) in zip(layout.tensors, encoders.items(), strict=True):
        embedding = encoder.get_input_embeddings()
        if entry.shape[-1] != embedding.embedding_dim:
            raise WeightsInvalid(
                f"its vectors have {entry.shape[-1]} numbers; the model's {name} takes {embedding.embedding_dim}"
            )
        forms[entry.name] = torch.empty(entry.shape, dtype=embedding.weight.dtype)
    return forms
