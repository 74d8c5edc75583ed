"""Counting prompt tokens from a tokenizer file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from darkroom.catalogue import Source
from darkroom.tokens import PromptTokenCounter
from tests.darkroom.factories import make_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder whose tokenizer knows three words and truncates at four tokens, as a model's own file may."""
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "red": 2, "blue": 3, "?": 4}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    return tmp_path


@pytest.mark.parametrize(("text", "tokens"), [("", 2), ("red", 3), ("red blue red blue red", 7)])
def test_count_includes_start_and_end_and_is_not_truncated(folder: Path, text: str, tokens: int) -> None:
    spec = make_model(source=Source(folder=folder))

    assert PromptTokenCounter().count(spec, text) == tokens


def test_file_is_read_once(folder: Path) -> None:
    counter, spec = PromptTokenCounter(), make_model(source=Source(folder=folder))
    assert counter.count(spec, "red") == 3

    (folder / "tokenizer" / "tokenizer.json").unlink()

    assert counter.count(spec, "red") == 3


def test_model_without_a_tokenizer_file_gives_none(tmp_path: Path) -> None:
    assert PromptTokenCounter().count(make_model(source=Source(folder=tmp_path)), "red") is None
