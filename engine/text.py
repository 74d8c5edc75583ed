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
MAX_ENTRIES = 256


class OnLookup(Protocol):
    def __call__(self, *, hit: bool) -> None: ...


class EmbeddingCache:
    """The embeddings used last, by model, prompt and what else changes them."""

    def __init__(self, max_entries: int = MAX_ENTRIES, *, on_lookup: OnLookup) -> None:
        self._max_entries = max_entries
        self._on_lookup = on_lookup
        self._entries: OrderedDict[tuple[str, str, Hashable], Embedding] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, model: str, prompt: str, *, encode: Callable[[str], Embedding], adapters: Hashable = ()) -> Embedding:
        """The prompt's embedding, encoded now if it is not at hand.

        Args:
            adapters: those that change the text encoder, with their scales.
        """
        key = (model, prompt, adapters)
        self._on_lookup(hit=key in self._entries)
        if key in self._entries:
            self.hits += 1
            self._entries.move_to_end(key)
            return self._entries[key]
        self.misses += 1
        self._entries[key] = encode(prompt)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return self._entries[key]


def stack(embeddings: Sequence[Embedding]) -> dict[str, torch.Tensor]:
    """Put rows of the same inputs under one another: each (rows, ...)."""
    return {name: torch.cat([embedding[name] for embedding in embeddings]) for name in embeddings[0]}
