"""The heads of the semantic layer: one logistic regression for each concept, over the vectors of one embedding model.

A folder holds `heads.safetensors` (for each head a weight vector and a bias) and `heads.json` (names, categories,
calibration, and the SHA-256 of the embedding model's weights: over any other model a head says nothing). The
calibration is Platt's (1999): the probability is sigmoid(scale * logit + shift), fitted on texts that the head did not
learn from. Needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from darkroom.errors import ConfigurationError
from safety.verdict import Category

INFO, WEIGHTS = "heads.json", "heads.safetensors"
_NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HeadInfo(_Part):
    """What `heads.json` says of one head."""

    name: Annotated[str, StringConstraints(pattern=_NAME)]
    category: Category
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]  # above 0: a calibration never turns the order round
    shift: _Number


class HeadsInfo(_Part):
    """What `heads.json` says of all."""

    schema_version: Literal[1] = Field(alias="schema")
    embedder: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    heads: Annotated[tuple[HeadInfo, ...], Field(min_length=1)]


@dataclass(frozen=True, eq=False)
class Head:
    """One concept's logistic regression."""

    info: HeadInfo
    weight: torch.Tensor  # (dimensions,)
    bias: float

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors @ self.weight + self.bias

    def probabilities(self, vectors: torch.Tensor) -> torch.Tensor:
        """How likely each of the vectors (n, dimensions) is of the concept."""
        return torch.sigmoid(self.info.scale * self.logits(vectors) + self.info.shift)


def load_heads(folder: Path, *, embedder: str) -> tuple[Head, ...]:
    """Read a folder of heads for the embedding model whose weights have this SHA-256.

    Raises:
        ConfigurationError: a file is damaged, or the heads belong to another model.
    """
    try:
        info = HeadsInfo.model_validate_json((folder / INFO).read_bytes())
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValidationError, SafetensorError) as error:
        raise ConfigurationError(f"the semantic heads can't be read: {type(error).__name__}") from error
    if info.embedder != embedder:
        raise ConfigurationError("the semantic heads were trained on another embedding model")
    return tuple(_head(head, tensors) for head in info.heads)


def save_heads(folder: Path, heads: Sequence[Head], *, embedder: str) -> None:
    """Write a folder of heads."""
    assert all(re.fullmatch(_NAME, head.info.name) for head in heads), "names stand in the names of tensors"
    info = HeadsInfo(schema=1, embedder=embedder, heads=tuple(head.info for head in heads))
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{head.info.name}.weight": head.weight.contiguous() for head in heads}
    tensors |= {f"{head.info.name}.bias": torch.tensor(head.bias) for head in heads}
    save_file(tensors, folder / WEIGHTS)
    (folder / INFO).write_text(info.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")


def _head(info: HeadInfo, tensors: dict[str, torch.Tensor]) -> Head:
    weight, bias = tensors.get(f"{info.name}.weight"), tensors.get(f"{info.name}.bias")
    if weight is None or bias is None or weight.ndim != 1 or bias.ndim != 0:
        raise ConfigurationError(f"the semantic head {info.name} has no weights, or weights of another shape")
    if not (weight.isfinite().all() and bias.isfinite()):
        raise ConfigurationError(f"the semantic head {info.name} has weights that are no numbers")
    return Head(info, weight.float(), bias.item())
