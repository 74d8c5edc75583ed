"""Counts a prompt's tokens with the model's own tokenizer file, without transformers.

CLIP truncates at 77 tokens in silence; the count lets the API warn about it. A model without a local tokenizer file
gives None, and no warning.
"""

from __future__ import annotations

import threading

from tokenizers import Tokenizer

from darkroom.catalogue import ModelSpec


class PromptTokenCounter:
    """Loads each model's tokenizer once, at its first prompt."""

    def __init__(self) -> None:
        self._tokenizers: dict[str, Tokenizer | None] = {}
        self._lock = threading.Lock()

    def count(self, spec: ModelSpec, text: str) -> int | None:
        """Tokens of the text, start and end token included, or None without a tokenizer file."""
        with self._lock:
            if spec.name not in self._tokenizers:
                self._tokenizers[spec.name] = _load(spec)
            tokenizer = self._tokenizers[spec.name]
        return len(tokenizer.encode(text).ids) if tokenizer else None


def _load(spec: ModelSpec) -> Tokenizer | None:
    if spec.tokenizer_file is None:
        return None
    tokenizer = Tokenizer.from_file(str(spec.tokenizer_file))
    tokenizer.no_truncation()  # the file may carry the model's own limit, which would hide what we count
    tokenizer.no_padding()
    return tokenizer
