"""Writes a trained LoRA as one safetensors file: with diffusers' names, or with kohya's for the tools that read those.

The header says what the file is: base model, rank, alpha, licence, trigger words, in the keys that image tools read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors.torch import save
from torch import Tensor

from training.lora.base import UNET, Base
from training.lora.settings import LoraSettings

_CLIP_ROOT = "text_model."  # every kohya file has this level; transformers 5 dropped it from one of its CLIP classes


@dataclass(frozen=True)
class Card:
    """What the header tells people."""

    name: str
    base_model: str
    licence: str
    trigger: str = ""  # words that call the style up; empty where the LoRA alone does


@dataclass(frozen=True)
class TrainedLora:
    """The networks that hold the trained layers, and what they were trained with."""

    base: Base
    parts: Mapping[str, Any]
    settings: LoraSettings
    card: Card

    def layers(self) -> Iterator[tuple[str, str, Tensor, Tensor]]:
        """Part, layer, and the two matrices of each."""
        for part, network in self.parts.items():
            state = get_peft_model_state_dict(network)
            for name in state:
                if name.endswith(".lora_A.weight"):
                    layer = name.removesuffix(".lora_A.weight")
                    yield part, layer, state[name], state[f"{layer}.lora_B.weight"]


def export(lora: TrainedLora, file: Path, *, form: str, dtype: torch.dtype = torch.float16) -> None:
    """Write the file in one of `FORMS`."""
    tensors, metadata = FORMS[form](lora)
    file.parent.mkdir(parents=True, exist_ok=True)
    stored = {name: t.detach().to("cpu", dtype).contiguous() for name, t in tensors.items()}
    file.write_bytes(_ordered(save(stored, {"format": "pt", **_said(lora), **metadata})))


def _ordered(raw: bytes) -> bytes:
    """The same file with its header in a fixed order, so that equal LoRAs have equal digests."""
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.dumps(json.loads(raw[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # as the format wants it: tensors begin at a multiple of eight
    return len(header).to_bytes(8, "little") + header + raw[end:]


def _diffusers(lora: TrainedLora) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As `save_lora_weights` writes: alpha is not a tensor but part of the settings in the header."""
    tensors = {}
    for part, layer, down, up in lora.layers():
        tensors[f"{part}.{layer}.lora_A.weight"] = down
        tensors[f"{part}.{layer}.lora_B.weight"] = up
    settings: dict[str, object] = {}
    for part, network in lora.parts.items():
        (config,) = network.peft_config.values()
        settings[f"{part}.r"] = config.r
        settings[f"{part}.lora_alpha"] = config.lora_alpha
        settings[f"{part}.target_modules"] = sorted(config.target_modules)
    return tensors, {"lora_adapter_metadata": json.dumps(settings, sort_keys=True)}


def _kohya(lora: TrainedLora) -> tuple[dict[str, Tensor], dict[str, str]]:
    prefixes = {UNET: "lora_unet_", "text_encoder": "lora_te_"}
    if lora.base.is_xl:
        prefixes |= {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
    tensors = {}
    for part, layer, down, up in lora.layers():
        path = layer if part == UNET or layer.startswith(_CLIP_ROOT) else _CLIP_ROOT + layer
        name = prefixes[part] + path.replace(".", "_")
        tensors[f"{name}.lora_down.weight"] = down
        tensors[f"{name}.lora_up.weight"] = up
        tensors[f"{name}.alpha"] = torch.tensor(lora.settings.alpha)
    return tensors, {
        "ss_network_module": "networks.lora",
        "ss_base_model_version": "sdxl_base_v1-0" if lora.base.is_xl else "sd_v1",
    }


def _said(lora: TrainedLora) -> dict[str, str]:
    settings, card = lora.settings, lora.card
    family = "stable-diffusion-xl-v1-base" if lora.base.is_xl else "stable-diffusion-v1"
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{family}/lora",
        "modelspec.title": card.name,
        "modelspec.license": card.licence,
        "modelspec.trigger_phrase": card.trigger,
        "modelspec.resolution": f"{settings.size}x{settings.size}",
        "modelspec.prediction_type": "v" if lora.base.noise.config.prediction_type == "v_prediction" else "epsilon",
        "ss_sd_model_name": card.base_model,
        "ss_network_dim": str(settings.rank),
        "ss_network_alpha": f"{settings.alpha:g}",
    }


FORMS: Mapping[str, Callable[[TrainedLora], tuple[dict[str, Tensor], dict[str, str]]]] = MappingProxyType(
    {"diffusers": _diffusers, "kohya": _kohya}
)
