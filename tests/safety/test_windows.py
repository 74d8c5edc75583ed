"""Windows: every token of a text is in one of them, however long the text is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from darkroom.errors import ConfigurationError
from safety.prompt.windows import BATCH, Windows

CLIP = Path(__file__).parents[2] / "models" / "darkroom-tiny-clip"
CONFIG = SimpleNamespace(max_position_embeddings=77)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(CLIP)


def test_short_text_is_one_window(tokenizer: Any) -> None:
    (batch,) = Windows(tokenizer, CONFIG).batches("a red circle")

    assert batch["input_ids"].tolist() == [tokenizer("a red circle")["input_ids"]]
    assert set(batch) == {"input_ids", "attention_mask"}


def test_nothing_of_a_long_text_goes_unseen(tokenizer: Any) -> None:
    words = [f"{colour} {shape}" for colour in ("red", "green", "blue") for shape in ("circle", "star", "ring")] * 150
    text = " ".join([*words, "the sea at night"])

    batches = list(Windows(tokenizer, CONFIG).batches(text))

    rows = [row for batch in batches for row in batch["input_ids"].tolist()]
    assert max(len(batch["input_ids"]) for batch in batches) == BATCH
    assert all(len(row) <= 77 for row in rows)
    seen = " ".join(tokenizer.decode(row, skip_special_tokens=True) for row in rows)
    assert "the sea at night" in seen
    ids = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    assert sum(len(row) - 2 for row in rows) >= len(ids)


def test_word_at_the_seam_stands_whole_in_one_window(tokenizer: Any) -> None:
    text = " ".join(["red"] * 74 + ["mountains", "and", "trees"] + ["blue"] * 74)

    rows = [row for batch in Windows(tokenizer, CONFIG).batches(text) for row in batch["input_ids"].tolist()]

    assert any("mountains and trees" in tokenizer.decode(row) for row in rows)


@pytest.mark.parametrize(
    ("limit", "positions", "length"),
    [(512, 514, 512), (10**30, 514, 512), (77, 77, 77), (512, 128, 128), (10**30, None, 512)],
)
def test_length_is_what_both_tokenizer_and_model_take(limit: int, positions: int | None, length: int) -> None:
    tokenizer = SimpleNamespace(is_fast=True, model_max_length=limit)

    assert Windows(tokenizer, SimpleNamespace(max_position_embeddings=positions)).length == length


def test_slow_tokenizer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="fast"):
        Windows(SimpleNamespace(is_fast=False, model_max_length=77), CONFIG)
