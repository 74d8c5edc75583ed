"""The prompt-embedding cache."""

from __future__ import annotations

import pytest
import torch

from engine.observer import SilentObserver
from engine.text import Embedding, EmbeddingCache, stack

ENTRY_BYTES = 2 * 3 * 4


class Encoder:
    """Counts what it encodes."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def __call__(self, prompt: str) -> Embedding:
        self.encoded.append(prompt)
        return {"encoder_hidden_states": torch.full((1, 2, 3), float(len(self.encoded)))}


def test_a_prompt_is_encoded_once_and_the_lookup_is_told() -> None:
    told: list[bool] = []
    encoder = Encoder()
    cache = EmbeddingCache(on_lookup=lambda *, hit: told.append(hit))

    first = cache.get("model", "a cat", encode=encoder)
    second = cache.get("model", "a cat", encode=encoder)

    assert first is second
    assert encoder.encoded == ["a cat"]
    assert told == [False, True]
    assert (cache.hits, cache.misses) == (1, 1)


def test_models_do_not_share_embeddings() -> None:
    encoder = Encoder()
    cache = EmbeddingCache(on_lookup=SilentObserver().embedding_cache)

    cache.get("one", "a cat", encode=encoder)
    cache.get("other", "a cat", encode=encoder)

    assert encoder.encoded == ["a cat", "a cat"]


def test_the_prompt_not_used_for_longest_is_dropped_first() -> None:
    encoder = Encoder()
    cache = EmbeddingCache(2 * ENTRY_BYTES, on_lookup=SilentObserver().embedding_cache)
    for prompt in ("a", "b", "a", "c"):
        cache.get("model", prompt, encode=encoder)

    cache.get("model", "a", encode=encoder)
    cache.get("model", "b", encode=encoder)

    assert encoder.encoded == ["a", "b", "c", "b"]
    assert len(cache) == 2


def test_a_prompt_that_cannot_be_encoded_leaves_no_entry() -> None:
    cache = EmbeddingCache(on_lookup=SilentObserver().embedding_cache)

    def fail(_prompt: str) -> Embedding:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("model", "a", encode=fail)

    assert len(cache) == 0


def test_stack_puts_every_input_of_each_row_in_order() -> None:
    rows = [{"x": torch.tensor([[index]]), "y": torch.tensor([[index, -index]])} for index in (1, 2)]

    stacked = stack(rows)

    assert stacked["x"].tolist() == [[1], [2]]
    assert stacked["y"].tolist() == [[1, -1], [2, -2]]
