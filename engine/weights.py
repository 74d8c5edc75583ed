"""How many bytes a model's weights take: on disk, before it is loaded, and in memory, once it is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from engine.pipelines import PipelineSpec

NETWORKS = ("text_encoder", "text_encoder_2", "unet", "vae")
_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit


def networks(pipeline: Any) -> dict[str, torch.nn.Module]:
    """The networks that a loaded pipeline has, in the order in which an image goes through them."""
    parts = {name: getattr(pipeline, name, None) for name in NETWORKS}
    return {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}


def bytes_in_memory(*parts: torch.nn.Module) -> int:
    tensors = (tensor for part in parts for tensor in (*part.parameters(), *part.buffers()))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def bytes_once_loaded(spec: PipelineSpec, dtype: torch.dtype) -> int:
    """What the weights will take at this dtype, by their files' headers.

    Files that are not on this machine, or can't be read, count nothing: their load will say what is wrong.
    """
    return sum(map(_elements, _files(spec))) * dtype.itemsize


def _files(spec: PipelineSpec) -> Iterator[Path]:
    source = Path(spec.source)
    if source.is_file():
        yield source
    elif source.is_dir():
        for name in NETWORKS:
            files = sorted((source / name).glob("*.safetensors"))
            plain = [file for file in files if ".fp16." not in file.name and ".non_ema." not in file.name]
            yield from plain or files


def _elements(file: Path) -> int:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, _MAX_HEADER_BYTES)))
        return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0
