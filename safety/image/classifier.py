"""Scores images with a classifier of transformers' format: any folder, or one exact commit of the hub.

Which label means which category is the operator's to say, in a file of their own, with a calibration table for each
category: the shares that a network answers with are no probabilities on the images of another model. A label that the
file leaves out stops the start, because a misread label is a hole. Needs torch, so only a worker imports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from transformers import AutoImageProcessor, AutoModelForImageClassification

from darkroom.errors import ConfigurationError
from darkroom.toml_file import read_toml
from safety.calibration import IDENTITY, Calibration
from safety.label_columns import label_columns
from safety.model_source import ModelSource
from safety.subjects import ImageSubject
from safety.verdict import Category, Finding, Stage


class ImageLabelTable(BaseModel):
    """The file that says what an image classifier's labels mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = Field(alias="schema")
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")] = "classifier"
    activation: Literal["softmax", "sigmoid"]  # one label of several, or each for itself
    labels: Annotated[Mapping[str, Category | Literal["benign"]], Field(min_length=1)]
    calibration: Mapping[Category, Calibration] = {}  # of the labels' shares, summed or the strongest; none: as it is


class ImageClassifierCheck:
    """One classifier and the meaning of its labels; it is named `image_NAME`."""

    stage = Stage.IMAGE

    def __init__(self, source: str, table: ImageLabelTable) -> None:
        """Load the model.

        Raises:
            ConfigurationError: there is no such model, or its labels and the table don't match.
        """
        where = ModelSource.parse(source)
        try:
            self._processor: Any = AutoImageProcessor.from_pretrained(where.place, **where.options)
            model = AutoModelForImageClassification.from_pretrained(
                where.place, use_safetensors=True, dtype=torch.float32, **where.options
            )
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(f"the image classifier can't be loaded: {type(error).__name__}") from error
        self.name = f"image_{table.name}"
        self._model = model.eval().requires_grad_(requires_grad=False)
        self._columns = label_columns(model.config.id2label, table.labels, what="image classifier")
        self._table = table

    def run(self, subject: ImageSubject) -> list[Finding]:
        return self.run_batch([subject])[0]

    @torch.inference_mode()
    def run_batch(self, subjects: Sequence[ImageSubject]) -> list[list[Finding]]:
        """For each image a score for each category that the table names."""
        # One by one, because images of one batch may differ in size.
        pixels = [self._processor(images=each.pixels, return_tensors="pt")["pixel_values"] for each in subjects]
        logits = self._model(pixel_values=torch.cat(pixels)).logits
        softmax = self._table.activation == "softmax"
        shares = logits.softmax(1) if softmax else logits.sigmoid()  # (images, labels)
        return [self._findings(row) for row in shares]

    def _findings(self, shares: torch.Tensor) -> list[Finding]:
        """Labels that exclude each other add up; of independent ones the strongest counts."""
        softmax, found = self._table.activation == "softmax", []
        for category, columns in self._columns.items():
            own = shares[columns]
            share = (own.sum() if softmax else own.max()).item()
            raw = min(share, 1.0) if share > 1 else share  # rounding; NaN stays NaN, for the runner to refuse
            found.append(Finding(category, self._table.calibration.get(category, IDENTITY)(raw), self.name))
        return found


def load_image_label_table(path: Path) -> ImageLabelTable:
    """Read the file.

    Raises:
        ConfigurationError: with one sentence that says what is wrong and where.
    """
    return read_toml(path, ImageLabelTable, what="label table")
