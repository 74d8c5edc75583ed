"""Finds forbidden concepts by their closeness to an image in CLIP's space, in the format of Stable Diffusion's checker.

An image shows a concept where the cosine of its vector to the concept's is above that concept's own bar; one special
care concept that does lowers the other bars by 0.01. The raw score is the largest cosine minus bar, no probability, so
a calibration table comes with every checker. Reads a whole `safety_checker` folder, or the concepts alone beside the
CLIP that they were made for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import CLIPConfig, CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from darkroom.errors import ConfigurationError
from safety.calibration import Calibration
from safety.image.embedder import ImageEmbedder
from safety.subjects import ImageSubject
from safety.verdict import Category, Finding, Stage

INFO, CONCEPTS, WEIGHTS = "concepts.json", "concepts.safetensors", "model.safetensors"
NAMES = ("concept_embeds", "concept_embeds_weights", "special_care_embeds", "special_care_embeds_weights")
SPECIAL_CARE = 0.01
# Of Stable Diffusion's own checker: its bars are where the raw score is 0, and its authors' margin is some hundredths.
# Nobody measured these points on labelled images here; an operator who has some makes a table with `calibration.fit`.
PUBLISHED = Calibration(points=((-0.06, 0.0), (-0.02, 0.005), (0.0, 0.05), (0.02, 0.5), (0.06, 1.0)))


class ConceptsInfo(BaseModel):
    """What `concepts.json` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = Field(alias="schema")
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    category: Category
    embedder: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    calibration: Calibration


@dataclass(frozen=True, eq=False)
class Concepts:
    """The concepts' vectors and bars."""

    embeds: torch.Tensor  # (concepts, dimensions)
    bars: torch.Tensor  # (concepts,)
    special_embeds: torch.Tensor  # (special care concepts, dimensions)
    special_bars: torch.Tensor

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> Concepts:
        """The concepts among a checker's tensors, by the names that Stable Diffusion's files use.

        Raises:
            ConfigurationError: one is missing, or the shapes don't fit together.
        """
        if missing := [name for name in NAMES if name not in tensors]:
            raise ConfigurationError(f"the concept checker's file has no {missing[0]}")
        found = cls(*(tensors[name].float() for name in NAMES))
        pairs = ((found.embeds, found.bars), (found.special_embeds, found.special_bars))
        if not all(_fit_together(embeds, bars) for embeds, bars in pairs):
            raise ConfigurationError("the concept checker's file holds vectors and bars that don't fit together")
        if not len(found.bars):
            raise ConfigurationError("the concept checker's file holds no concept")
        return found

    def raw(self, vectors: torch.Tensor) -> torch.Tensor:
        """For each image (n, dimensions) the largest cosine minus bar, (n,)."""
        units = normalize(vectors)
        margins = units @ normalize(self.embeds).T - self.bars
        if len(self.special_bars):
            special = units @ normalize(self.special_embeds).T - self.special_bars
            margins = margins + SPECIAL_CARE * _fires(special)[:, None]
        return margins.amax(1)


class Vectors(Protocol):
    """What turns images into vectors (n, dimensions)."""

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor: ...


class ConceptCheck:
    """Scores how surely an image shows any of the concepts."""

    stage = Stage.IMAGE

    def __init__(
        self, concepts: Concepts, vectors: Vectors, *, name: str, category: Category, calibration: Calibration
    ) -> None:
        self.name = name
        self._concepts = concepts
        self._vectors = vectors
        self._category = category
        self._calibration = calibration

    def run(self, subject: ImageSubject) -> list[Finding]:
        return self.run_batch([subject])[0]

    def run_batch(self, subjects: Sequence[ImageSubject]) -> list[list[Finding]]:
        """One finding for each image, however low its score."""
        raws = self.raw([subject.pixels for subject in subjects])
        return [[Finding(self._category, self._calibration(raw), self.name)] for raw in raws]

    @torch.inference_mode()
    def raw(self, images: Sequence[NDArray[np.uint8]]) -> list[float]:
        """For each image the largest cosine minus bar."""
        found: list[float] = self._concepts.raw(self._vectors(images)).tolist()
        return found


def load_concepts(folder: Path, embedder: ImageEmbedder) -> ConceptCheck:
    """A checker that is kept apart from the CLIP it was made for; it is named `image_concepts_NAME`.

    Raises:
        ConfigurationError: a file is missing or damaged, or was made for another CLIP.
    """
    try:
        info = ConceptsInfo.model_validate_json((folder / INFO).read_bytes())
        tensors = load_file(folder / CONCEPTS)
    except (OSError, ValidationError, SafetensorError) as error:
        raise ConfigurationError(f"the concept checker {folder} can't be read: {type(error).__name__}") from error
    if info.embedder != embedder.sha256:
        raise ConfigurationError(f"the concept checker {folder} was made for another CLIP than the one given")
    name = f"image_concepts_{info.name}"
    concepts = Concepts.of(tensors)
    return ConceptCheck(concepts, embedder, name=name, category=info.category, calibration=info.calibration)


def save_concepts(folder: Path, concepts: Concepts, info: ConceptsInfo) -> None:
    """Write a checker without its CLIP."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = (concepts.embeds, concepts.bars, concepts.special_embeds, concepts.special_bars)
    save_file(dict(zip(NAMES, (t.contiguous() for t in tensors), strict=True)), folder / CONCEPTS)
    (folder / INFO).write_text(info.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")


def load_safety_checker(
    folder: Path, *, category: Category = Category.sexual, calibration: Calibration = PUBLISHED
) -> ConceptCheck:
    """A `safety_checker` folder of Stable Diffusion, as it is; named `image_safety_checker`.

    Raises:
        ConfigurationError: the folder holds no such checker.
    """
    try:
        config = CLIPConfig.from_pretrained(folder, local_files_only=True)
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigurationError(f"the safety checker {folder} can't be read: {type(error).__name__}") from error
    model = CLIPVisionModelWithProjection(_vision_config(config))
    own = {_plain(name): tensor for name, tensor in tensors.items() if name.startswith("vis")}
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise ConfigurationError(f"the safety checker {folder} lacks parts of its vision side") from error
    vectors = _Vision(model.float().eval().requires_grad_(requires_grad=False))
    concepts = Concepts.of(tensors)
    return ConceptCheck(concepts, vectors, name="image_safety_checker", category=category, calibration=calibration)


class _Vision:
    """The vision side of a checker; its pictures are prepared as for every CLIP of that size."""

    def __init__(self, model: CLIPVisionModelWithProjection) -> None:
        side = model.config.image_size
        self._model = model
        self._processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        pixels = [self._processor(images=image, return_tensors="pt")["pixel_values"] for image in images]
        vectors: torch.Tensor = self._model(torch.cat(pixels)).image_embeds
        return vectors


def _vision_config(config: CLIPConfig) -> CLIPVisionConfig:
    vision: CLIPVisionConfig = config.vision_config
    vision.projection_dim = config.projection_dim
    return vision


def _plain(name: str) -> str:
    """A tensor's name in a CLIP vision model; the checker wraps a whole one, so the first part stands twice."""
    return name.replace("vision_model.vision_model.", "vision_model.", 1)


def _fit_together(embeds: torch.Tensor, bars: torch.Tensor) -> bool:
    finite = bool(embeds.isfinite().all() and bars.isfinite().all())
    return embeds.ndim == 2 and bars.shape == embeds.shape[:1] and finite


def _fires(margins: torch.Tensor) -> torch.Tensor:
    """Whether any concept is above its bar, after the rounding to thousandths of the published code."""
    return ((margins * 1000).round() > 0).any(1)
