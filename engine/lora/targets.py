"""The layers that a LoRA may change, and every name that a file may give them.

The names are made from the model itself and looked up; no name in a file is ever rewritten by rules until it seems to
fit. A UNet's layers have two sets of names: diffusers', and those of the code that Stable Diffusion was first published
with, which kohya's trainers use for SDXL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

UNET = "unet"
KOHYA_PREFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {UNET: ("lora_unet_",), "text_encoder": ("lora_te_", "lora_te1_"), "text_encoder_2": ("lora_te2_",)}
)
_CLIP_ROOT = "text_model."  # transformers 5 dropped this level from one of its two CLIP text classes; files have it

Layer = torch.nn.Linear | torch.nn.Conv2d


class Place(NamedTuple):
    """One layer of a model."""

    part: str  # unet, text_encoder, text_encoder_2
    path: str  # as in the part's named_modules()


class Targets:
    """The layers of one model's networks that a LoRA may change."""

    def __init__(self, networks: Mapping[str, torch.nn.Module]) -> None:
        self.layers: dict[Place, Layer] = {}
        self._by_name: dict[str, Place] = {}
        for part, network in networks.items():
            for path, module in network.named_modules():
                if isinstance(module, torch.nn.Linear) or (isinstance(module, torch.nn.Conv2d) and module.groups == 1):
                    self._add(Place(part, path), module, network)

    def find(self, name: str) -> Place | None:
        """The layer of that name: `unet.path.to.layer`, or kohya's `lora_unet_path_to_layer`."""
        return self._by_name.get(name)

    def _add(self, place: Place, layer: Layer, network: torch.nn.Module) -> None:
        self.layers[place] = layer
        for path in _paths(place, network):
            self._by_name[f"{place.part}.{path}"] = place
            for prefix in KOHYA_PREFIXES.get(place.part, ()):
                self._by_name[prefix + path.replace(".", "_")] = place


def _paths(place: Place, network: Any) -> Iterator[str]:
    yield place.path
    if place.part != UNET:
        yield place.path.removeprefix(_CLIP_ROOT) if place.path.startswith(_CLIP_ROOT) else _CLIP_ROOT + place.path
        return
    original = _original_path(place.path, network)
    if original is not None:
        yield original


_Original = Callable[[re.Match[str], Any], str]  # the original name of a match, in a given UNet


def _span(unet: Any) -> int:
    """How many original blocks a level takes: its resnets and the one that changes the size."""
    layers: int = unet.config.layers_per_block
    return layers + 1


def _down(match: re.Match[str], unet: Any) -> str:
    level, kind, index, rest = match.groups()
    return f"input_blocks.{1 + int(level) * _span(unet) + int(index)}.{_KINDS[kind]}.{rest}"


def _downsampler(match: re.Match[str], unet: Any) -> str:
    return f"input_blocks.{(int(match[1]) + 1) * _span(unet)}.0.op"


def _middle(match: re.Match[str], _unet: Any) -> str:
    kind, index, rest = match.groups()
    return f"middle_block.{2 * int(index) + _KINDS[kind]}.{rest}"


def _up(match: re.Match[str], unet: Any) -> str:
    level, kind, index, rest = match.groups()
    return f"output_blocks.{int(level) * _span(unet) + int(index)}.{_KINDS[kind]}.{rest}"


def _upsampler(match: re.Match[str], unet: Any) -> str:
    level = int(match[1])
    follows = 1 + hasattr(unet.up_blocks[level], "attentions")
    return f"output_blocks.{level * _span(unet) + _span(unet) - 1}.{follows}.conv"


_KINDS = {"resnets": 0, "attentions": 1}
_BLOCKS: Mapping[re.Pattern[str], _Original] = MappingProxyType(
    {
        re.compile(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)"): _down,
        re.compile(r"down_blocks\.(\d+)\.downsamplers\.0\.conv"): _downsampler,
        re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)"): _middle,
        re.compile(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)"): _up,
        re.compile(r"up_blocks\.(\d+)\.upsamplers\.0\.conv"): _upsampler,
    }
)
_RESNET_LAYERS: Mapping[str, str] = MappingProxyType(
    {
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
)
_OUTER_LAYERS: Mapping[str, str] = MappingProxyType(
    {
        "conv_in": "input_blocks.0.0",
        "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
    }
)


def _original_path(path: str, unet: Any) -> str | None:
    """The layer's name in the original code, where that has one."""
    if not isinstance(getattr(getattr(unet, "config", None), "layers_per_block", None), int):
        return None
    if path in _OUTER_LAYERS:
        return _OUTER_LAYERS[path]
    for pattern, original in _BLOCKS.items():
        if match := pattern.fullmatch(path):
            head, _, last = original(match, unet).rpartition(".")
            return f"{head}.{_RESNET_LAYERS.get(last, last)}"
    return None
