"""The semantic layer: an embedding model's vectors, heads that fit only their model, the shipped concept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, CLIPModel, CLIPTokenizer

from darkroom.errors import ConfigurationError
from safety.pipeline import SafetyPipeline
from safety.policy import Policy
from safety.prompt.embedder import TextEmbedder
from safety.prompt.semantic import SemanticCheck
from safety.prompt.semantic_heads import Head, HeadInfo, load_heads, save_heads
from safety.subjects import PromptSubject
from safety.verdict import Category, Decision, PromptField
from tests.safety.tiny_text_models import save_encoder

MODELS = Path(__file__).parents[2] / "models"
CLIP, HEADS = MODELS / "darkroom-tiny-clip", MODELS / "darkroom-tiny-semantic"
TEXTS = ["a duck on a lake", "a storm"]


def make_head(name: str = "storms", *, dimensions: int = 16, **options: Any) -> Head:
    info = HeadInfo(**{"name": name, "category": Category.custom, "scale": 1.0, "shift": 0.0, **options})
    return Head(info, torch.linspace(-1, 1, dimensions), 0.25)


@pytest.fixture(scope="module")
def shipped() -> SemanticCheck:
    return SemanticCheck(CLIP, HEADS)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    save_encoder(tmp_path / "encoder")
    return tmp_path / "encoder"


def tokens(folder: Path, text: str) -> Any:
    words = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder)(**words).last_hidden_state[0]


def pooled_by(folder: Path, way: str) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, way: True}))


def test_vectors_are_the_mean_of_the_tokens_whatever_pads_them(encoder: Path) -> None:
    vectors = TextEmbedder(encoder).embed(TEXTS)

    for vector, text in zip(vectors, TEXTS, strict=True):
        mean = tokens(encoder, text).mean(0)
        assert torch.allclose(vector, mean / mean.norm(), atol=1e-5)


def test_first_token_is_taken_where_the_folder_says_so(encoder: Path) -> None:
    pooled_by(encoder, "pooling_mode_cls_token")

    (vector,) = TextEmbedder(encoder).embed(TEXTS[:1])

    first = tokens(encoder, TEXTS[0])[0]
    assert torch.allclose(vector, first / first.norm(), atol=1e-5)


def test_pooling_that_is_not_known_is_refused(encoder: Path) -> None:
    pooled_by(encoder, "pooling_mode_max_tokens")

    with pytest.raises(ConfigurationError, match="pooling"):
        TextEmbedder(encoder)


def test_layer_that_is_not_known_is_refused(encoder: Path) -> None:
    modules = [{"idx": 0, "type": "sentence_transformers.models.Dense", "path": "2_Dense"}]
    (encoder / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(ConfigurationError, match="Dense"):
        TextEmbedder(encoder)


def test_clip_vectors_are_those_of_the_pair() -> None:
    words = CLIPTokenizer.from_pretrained(CLIP)(["a red circle"], return_tensors="pt")
    with torch.inference_mode():
        theirs = CLIPModel.from_pretrained(CLIP).get_text_features(**words).pooler_output

    ours = TextEmbedder(CLIP).embed(["a red circle"])

    assert torch.allclose(ours, theirs / theirs.norm(), atol=1e-6)


def test_heads_come_back_as_they_were_saved(tmp_path: Path) -> None:
    save_heads(tmp_path, [make_head(), make_head("ducks", scale=2.5, shift=-1.0)], embedder="ab" * 32)

    storms, ducks = load_heads(tmp_path, embedder="ab" * 32)

    assert torch.equal(storms.weight, make_head().weight)
    assert (ducks.info.name, ducks.info.scale, ducks.info.shift, ducks.bias) == ("ducks", 2.5, -1.0, 0.25)


def test_probability_is_the_calibrated_logit() -> None:
    head = make_head(scale=2.0, shift=0.5)
    vector = torch.eye(16)[:1]

    assert head.probabilities(vector).item() == pytest.approx(torch.sigmoid(torch.tensor(2 * (-1 + 0.25) + 0.5)).item())


def test_heads_of_another_model_stop_the_start(encoder: Path, tmp_path: Path) -> None:
    save_heads(tmp_path / "heads", [make_head()], embedder="ab" * 32)

    with pytest.raises(ConfigurationError, match="another embedding model"):
        SemanticCheck(encoder, tmp_path / "heads")


def test_heads_of_another_size_stop_the_start(encoder: Path, tmp_path: Path) -> None:
    save_heads(tmp_path / "heads", [make_head(dimensions=8)], embedder=TextEmbedder(encoder).sha256)

    with pytest.raises(ConfigurationError, match="dimensions"):
        SemanticCheck(encoder, tmp_path / "heads")


@pytest.mark.parametrize(
    ("text", "what"),
    [("{", "can't be read"), ('{"schema": 1, "embedder": "EMBEDDER", "heads": []}', "can't be read")],
)
def test_damaged_heads_stop_the_start(tmp_path: Path, text: str, what: str) -> None:
    shutil.copytree(HEADS, tmp_path / "heads")
    (tmp_path / "heads" / "heads.json").write_text(text.replace("EMBEDDER", "ab" * 32))

    with pytest.raises(ConfigurationError, match=what):
        load_heads(tmp_path / "heads", embedder="ab" * 32)


def test_weights_that_are_no_numbers_stop_the_start(tmp_path: Path) -> None:
    head = make_head()
    head.weight[3] = float("nan")
    save_heads(tmp_path, [head], embedder="ab" * 32)

    with pytest.raises(ConfigurationError, match="no numbers"):
        load_heads(tmp_path, embedder="ab" * 32)


@pytest.mark.parametrize(
    ("prompt", "decision"),
    [
        ("mountains and the sea at sunset with the sun", Decision.BLOCK),
        ("a house and trees at night under the moon, pastel style", Decision.BLOCK),
        ("a red triangle on a blue background", Decision.ALLOW),
        ("a small yellow ring above a green heart on a black background", Decision.ALLOW),
    ],
)
def test_shipped_head_tells_landscapes_from_shapes(shipped: SemanticCheck, prompt: str, decision: Decision) -> None:
    policy = Policy.model_validate({"schema": 1, "name": "indoors", "version": 1})
    pipeline = SafetyPipeline(policy=policy, prompt_checks=[shipped])

    assert pipeline.check_prompt(PromptSubject(prompt)).decision is decision


def test_landscape_behind_many_shapes_is_found(shipped: SemanticCheck) -> None:
    shapes = "a red circle on a blue background, " * 12

    (alone,) = shipped.run(PromptSubject(shapes))
    (followed,) = shipped.run(PromptSubject(shapes + "mountains, the sea and trees at sunset " * 8))

    assert alone.score < 0.5 < followed.score


def test_negative_prompt_is_scored_by_itself(shipped: SemanticCheck) -> None:
    findings = shipped.run(PromptSubject("a red circle on a blue background", "mountains at night"))

    assert [(finding.field, finding.score > 0.5) for finding in findings] == [
        (PromptField.PROMPT, False),
        (PromptField.NEGATIVE_PROMPT, True),
    ]
