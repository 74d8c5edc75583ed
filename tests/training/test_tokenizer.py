"""The tokenizer: caption words are single tokens, and any text at all can be tokenized."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from training.scenes import COLOURS, SHAPES

MODEL = Path(__file__).parents[2] / "models" / "darkroom-tiny"


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(MODEL / "tokenizer")


@pytest.mark.parametrize("word", [*COLOURS, *SHAPES, "background", "mountains", "outline"])
def test_words_of_captions_are_one_token(word: str, tokenizer: CLIPTokenizer) -> None:
    assert len(tokenizer(word).input_ids) == 3  # start, word, end


@pytest.mark.parametrize("text", ["", "Zürich", "日本語のプロンプト", "🦊", "a\tb\nc", "x" * 3000])
def test_any_text_is_tokenized_within_the_model_s_length(text: str, tokenizer: CLIPTokenizer) -> None:
    ids = tokenizer(text, padding="max_length", truncation=True).input_ids

    assert len(ids) == tokenizer.model_max_length == 77
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id in ids


def test_different_unknown_words_differ(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer("fox").input_ids != tokenizer("owl").input_ids
