"""Prompt embeddings and the cache that spares encoding the same prompt twice.

A server sees the same prompts again and again: the images of one job share theirs, and nearly every guided sample has
the same negative prompt. Used by the device thread alone, so it needs no lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol

import torch

Embedding = Mapping[str, torch.Tensor]  # model input name -> (1, ...); families differ in which inputs they have
TOKENS = "encoder_hidden_states"  # the input that has a place for each token: (1, tokens, width)
MAX_BYTES = 64 << 20


class OnLookup(Protocol):
    def __call__(self, *, hit: bool) -> None: ...


class EmbeddingCache:
    """The embeddings used last, by model, prompt and what else changes them."""

    def __init__(self, max_bytes: int = MAX_BYTES, *, on_lookup: OnLookup) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._on_lookup = on_lookup
        self._entries: OrderedDict[tuple[str, str, Hashable], Embedding] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, model: str, prompt: str, *, encode: Callable[[str], Embedding], adapters: Hashable = ()) -> Embedding:
        """The prompt's embedding, encoded now if it is not at hand.

        Args:
            adapters: those that change the text encoder, with their scales. What operators install for a model, such
                as words of their own, stays the same for as long as the engine runs.
        """
        key = (model, prompt, adapters)
        self._on_lookup(hit=key in self._entries)
        if key in self._entries:
            self.hits += 1
            self._entries.move_to_end(key)
            return self._entries[key]
        self.misses += 1
        embedding = self._entries[key] = encode(prompt)
        self._bytes += _bytes(embedding)
        while self._bytes > self._max_bytes and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= _bytes(oldest)
        return embedding


def stack(embeddings: Sequence[Embedding]) -> dict[str, torch.Tensor]:
    """Put rows of the same inputs under one another: each (rows, ...)."""
    return {name: torch.cat([embedding[name] for embedding in embeddings]) for name in embeddings[0]}


def same_length(embeddings: Sequence[Embedding], *, empty: Callable[[], Embedding]) -> list[Embedding]:
    """Draw the shorter ones out with the empty prompt's, so that all have as many tokens."""
    longest = max(embedding[TOKENS].shape[1] for embedding in embeddings)
    return [_drawn_out(embedding, longest, empty) for embedding in embeddings]


def _drawn_out(embedding: Embedding, tokens: int, empty: Callable[[], Embedding]) -> Embedding:
    missing = tokens - embedding[TOKENS].shape[1]
    if not missing:
        return embedding
    padding = empty()[TOKENS]
    return {**embedding, TOKENS: torch.cat([embedding[TOKENS], *[padding] * (missing // padding.shape[1])], dim=1)}


def _bytes(embedding: Embedding) -> int:
    return sum(tensor.nbytes for tensor in embedding.values())
