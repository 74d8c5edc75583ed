"""Scores a request's texts with a text classifier of transformers' format, on the CPU of a worker.

Which label means which category is the operator's to say, in a file of their own: a label that the file leaves out
stops the start, because a misread label is a hole. Needs torch, so only a worker imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from darkroom.errors import ConfigurationError
from darkroom.toml_file import read_toml
from safety.calibration import IDENTITY, Calibration
from safety.label_columns import label_columns
from safety.model_source import ModelSource
from safety.prompt.windows import Windows
from safety.subjects import PromptSubject
from safety.verdict import Category, Finding, PromptField, Stage


class LabelTable(BaseModel):
    """The file that says what a classifier's labels mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = Field(alias="schema")
    activation: Literal["softmax", "sigmoid"]  # one label of several, or each for itself
    labels: Annotated[Mapping[str, Category | Literal["benign"]], Field(min_length=1)]
    calibration: Mapping[Category, Calibration] = {}  # of the labels' shares, summed or the strongest; none: as it is


class ClassifierCheck:
    """One classifier and the meaning of its labels."""

    name = "prompt_classifier"
    stage = Stage.PROMPT

    def __init__(self, source: str, table: LabelTable) -> None:
        """Load the model.

        Raises:
            ConfigurationError: there is no such model, or its labels and the table don't match.
        """
        where = ModelSource.parse(source)
        try:
            tokenizer = AutoTokenizer.from_pretrained(where.place, **where.options)
            model = AutoModelForSequenceClassification.from_pretrained(
                where.place, use_safetensors=True, dtype=torch.float32, **where.options
            )
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(f"the prompt classifier can't be loaded: {type(error).__name__}") from error
        self._model = model.eval().requires_grad_(requires_grad=False)
        self._windows = Windows(tokenizer, model.config)
        self._columns = label_columns(model.config.id2label, table.labels, what="prompt classifier")
        self._softmax = table.activation == "softmax"
        self._calibration = table.calibration

    def run(self, subject: PromptSubject) -> list[Finding]:
        """A score for each category and text: that of the window which says most of it."""
        return [
            *self._findings(subject.text, PromptField.PROMPT),
            *self._findings(subject.negative_prompt, PromptField.NEGATIVE_PROMPT),
        ]

    def _findings(self, text: str, where: PromptField) -> list[Finding]:
        if not text.strip():
            return []
        with torch.inference_mode():
            logits = torch.cat([self._model(**batch).logits for batch in self._windows.batches(text)])
        shares = logits.softmax(1) if self._softmax else logits.sigmoid()  # (windows, labels)
        return [
            Finding(category, self._score(category, shares[:, columns]), self.name, field=where)
            for category, columns in self._columns.items()
        ]

    def _score(self, category: Category, shares: torch.Tensor) -> float:
        """Labels that exclude each other add up; of independent ones the strongest counts. So does the worst window."""
        of_windows = shares.sum(1) if self._softmax else shares.amax(1)
        share = of_windows.max().item()
        # Rounding may take a sum over 1; NaN stays NaN, for the runner to refuse.
        return self._calibration.get(category, IDENTITY)(min(share, 1.0) if share > 1 else share)


def load_label_table(path: Path) -> LabelTable:
    """Read the file.

    Raises:
        ConfigurationError: with one sentence that says what is wrong and where.
    """
    return read_toml(path, LabelTable, what="label table")
