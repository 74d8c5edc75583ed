from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from darkroom.errors import ConfigurationError
from safety.image.classifier import ImageClassifierCheck, ImageLabelTable
from safety.subjects import ImageSubject
from safety.verdict import Category

LABELS = {0: "plain", 1: "round", 2: "pointed"}
TABLE = {"schema": 1, "activation": "softmax", "labels": {"plain": "benign", "round": "custom", "pointed": "custom"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        id2label=LABELS,
        label2id={label: index for index, label in LABELS.items()},
        initializer_range=0.5,
    )
    ViTForImageClassification(config).save_pretrained(place)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(place)
    return place


def subject(seed: int, side: int = 40) -> ImageSubject:
    return ImageSubject(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def check(folder: Path, **changes: Any) -> ImageClassifierCheck:
    return ImageClassifierCheck(str(folder), ImageLabelTable.model_validate({**TABLE, **changes}))


def logits(folder: Path, image: ImageSubject) -> torch.Tensor:
    pixels = ViTImageProcessorPil.from_pretrained(folder)(images=image.pixels, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return ViTForImageClassification.from_pretrained(folder).eval()(pixels).logits[0]


def test_labels_that_exclude_each_other_add_up(folder: Path) -> None:
    (finding,) = check(folder).run(subject(1))

    expected = logits(folder, subject(1)).softmax(0)[1:].sum().item()
    assert (finding.category, finding.layer) == (Category.custom, "image_classifier")
    assert finding.score == pytest.approx(expected, abs=1e-6)


def test_the_strongest_of_independent_labels_counts(folder: Path) -> None:
    (finding,) = check(folder, activation="sigmoid").run(subject(1))

    assert finding.score == pytest.approx(logits(folder, subject(1)).sigmoid()[1:].max().item(), abs=1e-6)


def test_images_of_different_sizes_go_in_one_batch(folder: Path) -> None:
    model, images = check(folder), [subject(1), subject(2, side=64)]

    together = [finding.score for (finding,) in model.run_batch(images)]

    assert together == pytest.approx([model.run(image)[0].score for image in images], abs=1e-6)


def test_raw_shares_are_calibrated_by_category(folder: Path) -> None:
    (finding,) = check(folder, calibration={"custom": {"points": [[0.0, 0.25]]}}, name="shapes").run(subject(1))

    assert (finding.score, finding.layer) == (0.25, "image_shapes")


@pytest.mark.parametrize(
    "labels",
    [
        {"plain": "benign", "round": "custom"},
        {**TABLE["labels"], "square": "custom"},  # type: ignore[dict-item]
        {"plain": "benign", "round": "benign", "pointed": "benign"},
    ],
)
def test_table_that_does_not_match_the_labels_stops_the_start(folder: Path, labels: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="label table"):
        check(folder, labels=labels)


def test_missing_model_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        ImageClassifierCheck(str(tmp_path / "nowhere"), ImageLabelTable.model_validate(TABLE))
