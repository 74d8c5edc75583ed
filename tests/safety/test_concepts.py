from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from darkroom.errors import ConfigurationError
from safety.calibration import Calibration
from safety.image.concepts import (
    CONCEPTS,
    INFO,
    Concepts,
    ConceptsInfo,
    load_concepts,
    load_safety_checker,
    save_concepts,
)
from safety.image.embedder import ImageEmbedder
from safety.subjects import ImageSubject
from safety.verdict import Category

CLIP = Path("models/darkroom-tiny-clip")
RISING = Calibration(points=((-1.0, 0.0), (1.0, 1.0)))


def published(seed: int) -> StableDiffusionSafetyChecker:
    """The published checker's own code, small and with random weights, its bars near where cosines lie."""
    torch.manual_seed(seed)
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 32,
        "patch_size": 8,
        "initializer_factor": 30.0,
    }
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    checker = StableDiffusionSafetyChecker(CLIPConfig(projection_dim=12, vision_config=vision, text_config=text))
    for name, spread in (("concept", 0.4), ("special_care", 0.3)):
        embeds, bars = getattr(checker, f"{name}_embeds"), getattr(checker, f"{name}_embeds_weights")
        embeds.data = torch.randn_like(embeds)
        bars.data = 0.3 + spread * torch.rand_like(bars)
    return checker.eval()


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (48, 48, 3), dtype=np.uint8) // (1 + index % 4) for index in range(count)]


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_folder_of_stable_diffusion_gives_the_verdicts_of_the_published_code(seed: int, tmp_path: Path) -> None:
    reference, pixels = published(seed), images(24)
    reference.save_pretrained(tmp_path)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    prepared = processor(images=pixels, return_tensors="pt")["pixel_values"]
    _, flagged = reference(images=np.zeros((24, 4, 4, 3)), clip_input=prepared)

    raws = load_safety_checker(tmp_path).raw(pixels)

    assert [round(raw, 3) > 0 for raw in raws] == flagged


def test_verdicts_of_the_published_code_differ_between_images() -> None:
    """Else the parity above would compare constants."""
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    prepared = processor(images=images(24), return_tensors="pt")["pixel_values"]

    flags = [flag for seed in range(4) for flag in published(seed)(prepared, np.zeros((24, 4, 4, 3)))[1]]

    assert 0.1 < np.mean(flags) < 0.9


def test_special_care_lowers_the_other_bars_by_a_hundredth() -> None:
    vector = torch.tensor([[1.0, 0.0]])
    concept, bar = torch.tensor([[0.6, 0.8]]), torch.tensor([0.605])
    without = Concepts(concept, bar, torch.zeros(0, 2), torch.zeros(0))
    fired = Concepts(concept, bar, vector, torch.tensor([0.9]))
    silent = Concepts(concept, bar, vector, torch.tensor([1.0]))

    raws = [each.raw(vector).item() for each in (without, fired, silent)]

    assert raws == pytest.approx([-0.005, 0.005, -0.005], abs=1e-6)


@pytest.mark.parametrize("lost", ["concept_embeds", "special_care_embeds_weights"])
def test_file_that_lacks_a_part_is_refused(lost: str) -> None:
    tensors = {
        "concept_embeds": torch.ones(2, 3),
        "concept_embeds_weights": torch.ones(2),
        "special_care_embeds": torch.ones(1, 3),
        "special_care_embeds_weights": torch.ones(1),
    }
    del tensors[lost]

    with pytest.raises(ConfigurationError, match=lost):
        Concepts.of(tensors)


def test_bars_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        Concepts.of(
            {
                "concept_embeds": torch.ones(2, 3),
                "concept_embeds_weights": torch.tensor([1.0, float("nan")]),
                "special_care_embeds": torch.ones(1, 3),
                "special_care_embeds_weights": torch.ones(1),
            }
        )


@pytest.fixture(scope="module")
def embedder() -> ImageEmbedder:
    return ImageEmbedder(CLIP)


def write(folder: Path, sha256: str, vector: torch.Tensor) -> Path:
    info = {"schema": 1, "name": "shape", "category": "custom", "embedder": sha256, "calibration": RISING}
    concepts = Concepts(vector, torch.tensor([0.5]), torch.zeros(0, vector.shape[1]), torch.zeros(0))
    save_concepts(folder, concepts, ConceptsInfo.model_validate(info))
    return folder


def test_concepts_beside_their_clip_score_cosine_minus_bar(embedder: ImageEmbedder, tmp_path: Path) -> None:
    target, *others = images(4)
    check = load_concepts(write(tmp_path, embedder.sha256, embedder([target])), embedder)

    (finding,) = check.run(ImageSubject(target))

    assert (finding.category, finding.layer) == (Category.custom, "image_concepts_shape")
    assert finding.score == pytest.approx(0.75, abs=1e-5)  # cosine 1, minus the bar of 0.5
    assert all(check.run(ImageSubject(other))[0].score < 0.75 for other in others)


def test_concepts_of_another_clip_are_refused(embedder: ImageEmbedder, tmp_path: Path) -> None:
    write(tmp_path, "0" * 64, torch.ones(1, 128))

    with pytest.raises(ConfigurationError, match="another CLIP"):
        load_concepts(tmp_path, embedder)


@pytest.mark.parametrize("file", [INFO, CONCEPTS])
def test_damaged_files_are_refused(file: str, embedder: ImageEmbedder, tmp_path: Path) -> None:
    write(tmp_path, embedder.sha256, torch.ones(1, 128))
    (tmp_path / file).write_text(json.dumps({"schema": 9}))

    with pytest.raises(ConfigurationError, match="can't be read"):
        load_concepts(tmp_path, embedder)


def test_folder_without_a_checker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load_safety_checker(tmp_path)
