"""Reads prompts as the engine will, with the model's own tokenizer file but without transformers.

A prompt is read in chunks, up to a bound, and what comes after them is not; the plan lets the API warn about it. A
model without a local tokenizer file gives None, and no warning.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tokenizers import Tokenizer

from darkroom.catalogue import EmbeddingSpec, ModelSpec
from darkroom.embedding_layout import count_vectors
from darkroom.prompt_chunks import Plan, Tokenize, Vocabulary, plan_chunks

UNREADABLE = 1  # vectors, as the engine takes it until it says why the word can't be used


class PromptReader:
    """Loads each model's tokenizer once, at its first prompt."""

    def __init__(self, embeddings: Mapping[str, EmbeddingSpec] | None = None) -> None:
        """`embeddings` add words to their models' vocabularies."""
        self._embeddings = tuple((embeddings or {}).values())
        self._models: dict[str, tuple[Tokenize, Vocabulary] | None] = {}
        self._lock = threading.Lock()

    def replace(self, embeddings: Mapping[str, EmbeddingSpec]) -> None:
        """Read every model's files anew, with these words."""
        with self._lock:
            self._embeddings = tuple(embeddings.values())
            self._models.clear()

    def read(self, spec: ModelSpec, text: str) -> Plan | None:
        """How the model will read the prompt, or None without a tokenizer file."""
        with self._lock:
            if spec.name not in self._models:
                self._models[spec.name] = self._load(spec)
            loaded = self._models[spec.name]
        if loaded is None:
            return None
        tokenize, vocabulary = loaded
        return plan_chunks(text, tokenize=tokenize, vocabulary=vocabulary, chunk_tokens=spec.max_tokens)

    def _load(self, spec: ModelSpec) -> tuple[Tokenize, Vocabulary] | None:
        if spec.tokenizer_file is None:
            return None
        own = (entry for entry in self._embeddings if entry.model == spec.name)
        return _tokenize(spec.tokenizer_file), Vocabulary(
            {entry.token: count_vectors(entry.file) or UNREADABLE for entry in own}
        )


def _tokenize(file: Path) -> Tokenize:
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()  # the file may carry the model's own limit, which would hide what we count
    tokenizer.no_padding()

    def words_of(text: str) -> Sequence[Sequence[int]]:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        places = groupby(zip(encoding.word_ids, encoding.ids, strict=True), key=lambda place: place[0])
        return [[token for _, token in word] for _, word in places]

    return words_of
