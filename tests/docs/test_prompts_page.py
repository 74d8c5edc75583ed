"""What docs/prompts.md says of a prompt is what is read of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from darkroom.catalogue import Catalogue, load_catalogue
from darkroom.embedding_layout import MAX_VECTORS
from darkroom.params import GenerationRequest
from darkroom.prompt_chunks import MAX_CHUNKS, WHOLE_TOKENS
from darkroom.prompt_syntax import MAX_WEIGHT, STEP, parse_prompt
from darkroom.resolve import resolve
from darkroom.tokens import PromptReader

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(r"^\| `([^`]+)` \| ((?:`[^`]+` [\d.]+(?:, )?)+) \|$", re.MULTILINE)
_FRAGMENT = re.compile(r"`([^`]+)` ([\d.]+)")
_COUNT = re.compile(r"^\| (twelve times )?`([^`]+)` \| (\d+) \| (\d+) \|$", re.MULTILINE)
_WARNING = re.compile(r"^\| `(prompt has [^`]+)` \|", re.MULTILINE)
_REPEATED = re.compile(r"printf '(.+)%\.0s' \$\(seq (\d+)\)")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(ROOT / "catalogue.toml")


@pytest.fixture(scope="module")
def reader(catalogue: Catalogue) -> PromptReader:
    return PromptReader(catalogue.embeddings)


@pytest.mark.parametrize(("prompt", "told"), _EXAMPLE.findall(PAGE))
def test_an_example_is_read_as_the_page_says(prompt: str, told: str) -> None:
    assert [(each.text, f"{each.weight:g}") for each in parse_prompt(prompt)] == _FRAGMENT.findall(told)


@pytest.mark.parametrize(("times", "prompt", "tokens", "chunks"), _COUNT.findall(PAGE))
def test_the_shipped_model_counts_as_the_page_says(
    times: str, prompt: str, tokens: str, chunks: str, catalogue: Catalogue, reader: PromptReader
) -> None:
    plan = reader.read(catalogue.default_model, prompt * (12 if times else 1))

    assert plan is not None
    assert (plan.tokens, len(plan.chunks)) == (int(tokens), int(chunks))


def test_the_call_with_a_long_prompt_gets_the_warning_of_the_page(catalogue: Catalogue, reader: PromptReader) -> None:
    ((text, times),) = _REPEATED.findall(PAGE)
    request = GenerationRequest(prompt=text * int(times))

    _, warnings = resolve(request, catalogue=catalogue, owner="bob", draw_seed=lambda: 1, read_prompt=reader.read)

    assert list(warnings) == _WARNING.findall(PAGE)


def test_the_page_has_examples_and_the_codes_own_limits() -> None:
    assert len(_EXAMPLE.findall(PAGE)) >= 10
    assert len(_COUNT.findall(PAGE)) == 2
    assert f"multiplies by {STEP:g}" in PAGE
    assert f"Weights are 0 to {MAX_WEIGHT:g}" in PAGE
    assert f"up to {WHOLE_TOKENS} tokens" in PAGE
    assert f"1 to {MAX_VECTORS} vectors" in PAGE
    assert MAX_CHUNKS == 8, "the page says eight"
