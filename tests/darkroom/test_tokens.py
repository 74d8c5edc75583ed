"""Reading prompts with a tokenizer file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from darkroom.catalogue import EmbeddingSpec, Source
from darkroom.prompt_chunks import MAX_CHUNKS
from darkroom.tokens import PromptReader
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
    assert _tokens(PromptReader(), text, folder) == tokens


def test_the_syntax_of_weights_is_no_text(folder: Path) -> None:
    assert _tokens(PromptReader(), "(red:1.3) [blue]", folder) == 4


def test_only_what_is_beyond_the_last_chunk_is_cut(folder: Path) -> None:
    reader, spec = PromptReader(), make_model(source=Source(folder=folder), max_tokens=7)

    fits, over = (reader.read(spec, "red " * count) for count in (5 * MAX_CHUNKS, 5 * MAX_CHUNKS + 1))

    assert fits is not None
    assert over is not None
    assert (len(fits.chunks), fits.cut) == (MAX_CHUNKS, False)
    assert (len(over.chunks), over.cut) == (MAX_CHUNKS, True)


@pytest.mark.parametrize(
    ("shapes", "tokens"),
    [
        ({"emb_params": (3, 8)}, 6),
        ({"emb_params": (1, 8)}, 4),
        ({"<moss>": (8,)}, 4),
        ({"clip_l": (2, 8), "clip_g": (2, 16)}, 5),
        ({"clip_l": (2, 8), "clip_g": (3, 16)}, 4),
        ({}, 4),
    ],
)
def test_an_embedding_counts_with_all_its_vectors(
    folder: Path, shapes: dict[str, tuple[int, ...]], tokens: int
) -> None:
    file, end = folder / "moss.safetensors", 0
    tensors = {}
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        tensors[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    header = json.dumps({"__metadata__": {"a": "b"}, **tensors}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(end))
    moss = EmbeddingSpec(name="moss", model="tiny", file=file, sha256="0" * 64, token="<moss>")

    assert _tokens(PromptReader({"moss": moss}), "red <MOSS>", folder) == tokens
    assert _tokens(PromptReader({"moss": moss.model_copy(update={"model": "other"})}), "red", folder) == 3


def test_file_is_read_once(folder: Path) -> None:
    reader = PromptReader()
    assert _tokens(reader, "red", folder) == 3

    (folder / "tokenizer" / "tokenizer.json").unlink()

    assert _tokens(reader, "red", folder) == 3


def test_model_without_a_tokenizer_file_gives_none(tmp_path: Path) -> None:
    assert PromptReader().read(make_model(source=Source(folder=tmp_path)), "red") is None


def _tokens(reader: PromptReader, text: str, folder: Path) -> int:
    plan = reader.read(make_model(source=Source(folder=folder)), text)
    assert plan is not None
    return plan.tokens
