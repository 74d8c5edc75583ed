"""LoRA files with random weights, in every format that such files come in, and files that are broken on purpose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from engine import AdapterFile

RANK = 4

Matrices = dict[str, tuple[torch.Tensor, torch.Tensor]]  # part.path -> (down, up)


def random_lora(
    networks: Mapping[str, torch.nn.Module], *, layers: Iterable[str], seed: int, rank: int = RANK, size: float = 0.2
) -> Matrices:
    """Random matrices for each layer whose path ends with one of `layers`."""
    generator = torch.Generator().manual_seed(seed)
    matrices: Matrices = {}
    for part, network in networks.items():
        for path, layer in network.named_modules():
            if not path.endswith(tuple(layers)) or not isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                continue
            out, inner, *kernel = layer.weight.shape
            down, up = (rank, inner, *kernel), (out, rank, *(1 for _ in kernel))
            matrices[f"{part}.{path}"] = (
                torch.randn(down, generator=generator) * (size / torch.tensor(down[1:]).prod().sqrt()),
                torch.randn(up, generator=generator) * size,
            )
    assert matrices, "at least one layer has that name"
    return matrices


def in_peft_names(matrices: Matrices) -> dict[str, torch.Tensor]:
    """As diffusers writes them today."""
    return {
        f"{name}.{letter}.weight": matrix
        for name, pair in matrices.items()
        for letter, matrix in zip(("lora_A", "lora_B"), pair, strict=True)
    }


def in_kohya_names(matrices: Matrices, *, alpha: float | None = None) -> dict[str, torch.Tensor]:
    """As kohya's trainers write them: one level of names, alpha beside the matrices."""
    tensors: dict[str, torch.Tensor] = {}
    for name, (down, up) in matrices.items():
        part, _, path = name.partition(".")
        if part != "unet" and not path.startswith(("text_model", "text_projection")):
            path = f"text_model.{path}"
        prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}[part]
        stem = prefix + path.replace(".", "_")
        tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        if alpha is not None:
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    return tensors


def save_lora(
    file: Path, tensors: Mapping[str, torch.Tensor], *, model: str = "tiny", metadata: dict[str, str] | None = None
) -> AdapterFile:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata)
    return listed(file, model=model)


def listed(file: Path, *, model: str = "tiny") -> AdapterFile:
    """The file as a catalogue that knows its hash would list it."""
    return AdapterFile(file.stem, model, file, hashlib.sha256(file.read_bytes()).hexdigest())


def save_raw(file: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> AdapterFile:
    """Any bytes as a header, with any length before them."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return listed(file)
