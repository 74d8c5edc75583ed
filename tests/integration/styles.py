"""A catalogue whose shipped model has three styles, one of them one owner's own: random LoRAs, strong enough to see."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.fixtures.processes import ROOT

MODEL = ROOT / "models" / "darkroom-tiny"
LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
OWNERS = {"ink": [], "neon": [], "logo": ["bob"]}  # empty: everybody
ENTRY = """
[models.darkroom-tiny]
source = {{ folder = {folder} }}
licence = "Apache-2.0"
native_sizes = [[128, 128]]
max_side = 256
max_pixels = 65536
guidance_scale = 3.0
"""
STYLE = """
[adapters.{name}]
model = "darkroom-tiny"
file = "{name}.safetensors"
sha256 = "{sha256}"
licence = "Apache-2.0"
owners = {owners}
"""


def write_catalogue(folder: Path) -> Path:
    """The catalogue file, with the adapters' files beside it."""
    text = ENTRY.format(folder=json.dumps(str(MODEL)))
    for seed, (name, owners) in enumerate(OWNERS.items()):
        file = folder / f"{name}.safetensors"
        save_file(_random_lora(seed), file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        text += STYLE.format(name=name, sha256=digest, owners=json.dumps(owners))
    path = folder / "catalogue.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _random_lora(seed: int, *, rank: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    (weights,) = (MODEL / "unet").glob("*.safetensors")
    tensors: dict[str, torch.Tensor] = {}
    with safe_open(weights, "pt") as file:
        for key in file.keys():  # noqa: SIM118 -- it is no mapping
            path = key.removesuffix(".weight")
            if path.endswith(LAYERS):
                out, inner = file.get_slice(key).get_shape()
                tensors[f"unet.{path}.lora_A.weight"] = torch.randn(rank, inner, generator=generator) / inner**0.5
                tensors[f"unet.{path}.lora_B.weight"] = torch.randn(out, rank, generator=generator) * 0.2
    assert tensors, "the model has attention layers"
    return tensors
