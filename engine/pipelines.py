"""Where a pipeline's weights come from: a local folder, one `.safetensors` file, or a pinned hub revision.

A single file holds weights only, so it needs a local folder with the configs and the tokenizer of its base model
(any folder in diffusers' format; its weights are not read). Only safetensors files are ever opened: a pickle can run
code. Nothing local reaches for the network.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers.utils.logging
import torch
import transformers.utils.logging

from darkroom.errors import ModelUnavailable
from engine.textual_inversion import EmbeddingFile


@dataclass(frozen=True)
class PipelineSpec:
    """One model that the engine may load."""

    name: str
    source: str  # folder in diffusers' format, .safetensors file, or hub id
    family: str = "sd"
    revision: str | None = None  # commit of a hub id; required there
    config: str | None = None  # for a .safetensors file: the folder with its base model's configs
    dtype: str = "auto"  # auto: the engine's
    memory: str = "auto"  # a memory tier; auto: by what the device has free
    sizes: tuple[tuple[int, int], ...] = ()  # (width, height) that most images will have; their row caps are measured
    embeddings: tuple[EmbeddingFile, ...] = ()  # words that its prompts may use


def read_pipeline(pipeline_class: Any, spec: PipelineSpec, *, dtype: torch.dtype) -> Any:
    """Load a diffusers pipeline on the CPU, without its safety checker: checks are not the engine's.

    Raises:
        ModelUnavailable: when the spec lacks a part that its source needs.
    """
    diffusers.utils.logging.disable_progress_bar()  # bars belong in a terminal, not in a service's log
    transformers.utils.logging.disable_progress_bar()
    source = Path(spec.source)
    if source.is_dir():
        return _from_folder(pipeline_class, spec.source, dtype, local_files_only=True)
    if source.suffix == ".safetensors":
        return _from_file(pipeline_class, spec, dtype)
    if spec.revision is None:
        raise ModelUnavailable(f"model {spec.name}: no such folder, and a hub id needs a pinned revision")
    return _from_folder(pipeline_class, spec.source, dtype, revision=spec.revision)


def _from_folder(pipeline_class: Any, source: str, dtype: torch.dtype, **where: Any) -> Any:
    return pipeline_class.from_pretrained(
        source,
        dtype=dtype,
        use_safetensors=True,
        **_without_checker(pipeline_class),
        **where,
    )


def _from_file(pipeline_class: Any, spec: PipelineSpec, dtype: torch.dtype) -> Any:
    if spec.config is None or not Path(spec.config).is_dir():
        raise ModelUnavailable(f"model {spec.name}: a single file needs `config`, a local folder with its configs")
    return pipeline_class.from_single_file(
        spec.source,
        config=spec.config,
        dtype=dtype,
        local_files_only=True,
        **_without_checker(pipeline_class),
    )


def _without_checker(pipeline_class: Any) -> dict[str, Any]:
    """What leaves the safety checker out, where the pipeline has one."""
    known = inspect.signature(pipeline_class.__init__).parameters
    absent = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return {name: value for name, value in absent.items() if name in known}
