"""Training of semantic heads: texts dealt once, a head that learns, files that keep what was there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safety.prompt.embedder import TextEmbedder
from safety.prompt.semantic_heads import load_heads
from safety.verdict import Category
from training.semantic_head import (
    Example,
    count,
    main,
    painted_examples,
    read_examples,
    split_examples,
    train_head,
)

CLIP = Path(__file__).parents[2] / "models" / "darkroom-tiny-clip"


@pytest.fixture(scope="module")
def embedder() -> TextEmbedder:
    return TextEmbedder(CLIP)


def test_no_text_is_in_two_parts() -> None:
    examples = painted_examples("landscape", amount=400, seed=0)

    split = split_examples([*examples, *examples])

    texts = [example.text for part in (split.fit, split.calibration, split.held_out) for example in part]
    assert len(texts) == len(set(texts)) == len({example.text for example in examples})
    assert len(split.fit) > len(split.calibration) > 0
    assert split.held_out


def test_more_texts_move_none_from_one_part_to_another() -> None:
    examples = painted_examples("star", amount=400, seed=0)

    few, many = split_examples(examples[:100]), split_examples(examples)

    assert few.held_out
    assert {example.text for example in few.held_out} <= {example.text for example in many.held_out}


def test_half_of_the_painted_texts_are_about_the_concept() -> None:
    examples = painted_examples("star", amount=200, seed=0)

    assert sum(example.label for example in examples) == 100
    assert all(("star" in example.text) == example.label for example in examples)


def test_head_tells_landscapes_it_never_read_from_other_texts(embedder: TextEmbedder) -> None:
    split = split_examples(painted_examples("landscape", amount=1_000, seed=3))

    head = train_head(embedder, split, name="landscape", category=Category.custom)

    counts = count(head, embedder, split.held_out)
    assert counts.positives > 20
    assert counts.accuracy >= 0.98


def test_too_few_texts_are_refused(embedder: TextEmbedder) -> None:
    texts = [Example(f"{number} ducks", label=True) for number in range(100)]

    with pytest.raises(ValueError, match="each label"):
        train_head(embedder, split_examples(texts), name="ducks", category=Category.custom)


@pytest.mark.slow
def test_command_adds_a_head_and_keeps_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        json.dumps({"text": example.text, "label": example.label})
        for example in painted_examples("landscape", amount=400, seed=1)
    ]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    common = [str(CLIP), "--category", "custom", "--out", str(tmp_path / "heads")]

    main([*common, "--painted", "ring", "--amount", "400"])
    main([*common, "--examples", str(tmp_path / "texts.jsonl"), "--name", "outdoors"])

    names = [head.info.name for head in load_heads(tmp_path / "heads", embedder=TextEmbedder(CLIP).sha256)]
    assert names == ["ring", "outdoors"]
    assert "outdoors: of " in capsys.readouterr().out


@pytest.mark.parametrize(
    "line", ['{"text": "a duck"}', '{"text": "a duck", "label": 1}', '{"text": " ", "label": true}']
)
def test_line_of_another_form_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "a duck", "label": true}\n' + line + "\n")

    with pytest.raises(ValueError, match="line 2"):
        read_examples(path)
