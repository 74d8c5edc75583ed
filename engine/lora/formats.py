"""Which of a file's tensors belongs to which layer of the model, in each of the formats that LoRA files come in.

diffusers' names (old and new), PEFT's, and kohya's. Works on names and shapes alone, so a file's fit with the model is
settled before its weights are read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from darkroom.errors import AdapterInvalid, AdapterMismatch
from darkroom.safetensors_header import Header, TensorEntry
from engine.lora.targets import Layer, Place, Targets

MAX_RANK = 256
MAX_ALPHA = 65536.0

DOWN, UP, ALPHA = "down", "up", "alpha"
_ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        ".lora_A.weight": DOWN,  # PEFT, and diffusers today
        ".lora_B.weight": UP,
        ".lora.down.weight": DOWN,  # diffusers' UNets before PEFT
        ".lora.up.weight": UP,
        ".lora_linear_layer.down.weight": DOWN,  # diffusers' text encoders before PEFT
        ".lora_linear_layer.up.weight": UP,
        "_lora.down.weight": DOWN,  # diffusers' attention processors
        "_lora.up.weight": UP,
        ".lora_down.weight": DOWN,  # kohya
        ".lora_up.weight": UP,
        ".alpha": ALPHA,
    }
)
# Attention layers as diffusers' attention processors called them, by the part's own names.
_PROCESSOR_LAYERS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "unet": {"to_out": "to_out.0"},
        "text": {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"},
    }
)
_PEFT_ROOT = "base_model.model."  # PEFT's own files; they hold one network, which is the UNet here
_METADATA = "lora_adapter_metadata"  # where diffusers writes PEFT's settings, as JSON


@dataclass(frozen=True)
class Pair:
    """One layer's LoRA, as entries of the file."""

    place: Place
    down: TensorEntry  # (rank, in) or (rank, in, height, width)
    up: TensorEntry  # (out, rank) or (out, rank, 1, 1)
    alpha: TensorEntry | None

    @property
    def rank(self) -> int:
        return self.down.shape[0]


def match(header: Header, targets: Targets) -> tuple[Pair, ...]:
    """Pair the file's tensors up, layer by layer.

    Raises:
        AdapterMismatch: when the file changes layers that the model has not, or has in other shapes.
        AdapterInvalid: when it is no plain LoRA.
    """
    found: dict[Place, dict[str, TensorEntry]] = {}
    for entry in header.tensors:
        place, role = _place(entry.name, targets)
        if found.setdefault(place, {}).setdefault(role, entry) is not entry:
            raise AdapterInvalid(f"its file is not valid: {entry.name} changes a layer for the second time")
    pairs = [_pair(place, roles) for place, roles in found.items()]
    for pair in pairs:
        _check_shapes(pair, targets.layers[pair.place])
    return tuple(pairs)


def _place(name: str, targets: Targets) -> tuple[Place, str]:
    for ending, role in _ENDINGS.items():
        if name.endswith(ending):
            place = targets.find(_layer_name(name.removesuffix(ending), old=ending.startswith("_")))
            if place is None:
                raise AdapterMismatch(f"it was made for another model: this one has no layer for {name}")
            return place, role
    raise AdapterInvalid(f"it is no plain LoRA: {name} is not understood (DoRA, LoHa, LoKr and biases are not read)")


def _layer_name(stem: str, *, old: bool) -> str:
    """A tensor's name without its ending, as `Targets` knows it."""
    stem = stem.replace(".processor.", ".")
    if stem.startswith(_PEFT_ROOT):
        stem = "unet." + stem.removeprefix(_PEFT_ROOT)
    if not old:
        return stem
    head, _, last = stem.rpartition(".")
    part = "unet" if stem.startswith("unet.") else "text"
    return f"{head}.{_PROCESSOR_LAYERS[part].get(last, last)}"


def _pair(place: Place, roles: Mapping[str, TensorEntry]) -> Pair:
    if DOWN not in roles or UP not in roles:
        raise AdapterInvalid(f"its file is not valid: {place.part}.{place.path} lacks one of its two matrices")
    pair = Pair(place, roles[DOWN], roles[UP], roles.get(ALPHA))
    where = f"{place.part}.{place.path}"
    if any(entry.dtype == "I64" for entry in (pair.down, pair.up)):
        raise AdapterInvalid(f"its file is not valid: the weights of {where} are integers")
    if not all(2 <= len(entry.shape) <= 4 for entry in (pair.down, pair.up)) or pair.up.shape[1] != pair.rank:
        raise AdapterInvalid(f"its file is not valid: the two matrices of {where} differ in rank")
    if pair.rank > MAX_RANK:
        raise AdapterInvalid(f"its rank is {pair.rank} at {where}; {MAX_RANK} is the most")
    if pair.alpha is not None and math.prod(pair.alpha.shape) != 1:
        raise AdapterInvalid(f"its file is not valid: the alpha of {where} is not one number")
    return pair


def _check_shapes(pair: Pair, layer: Layer) -> None:
    down, up = matrix_shapes(layer, pair.rank)
    if same_but_ones(pair.down.shape, down) and same_but_ones(pair.up.shape, up):
        return
    raise AdapterMismatch(
        f"it was made for another model: {pair.place.part}.{pair.place.path} takes {list(down)} and {list(up)} here, "
        f"the file has {list(pair.down.shape)} and {list(pair.up.shape)}"
    )


def matrix_shapes(layer: Layer, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of the two matrices of a LoRA of that rank on this layer."""
    if isinstance(layer, torch.nn.Linear):
        return (rank, layer.in_features), (layer.out_features, rank)
    height, width = layer.kernel_size[0], layer.kernel_size[1]
    return (rank, layer.in_channels, height, width), (layer.out_channels, rank, 1, 1)


def same_but_ones(shape: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes differ at most in ones at their ends: files hold 1x1 convolutions as matrices and back."""
    return _without_ones(shape) == _without_ones(other)


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    height, width = (*shape[2:], 1, 1)[:2]
    return (*shape[:2], height, width)


class Scaling:
    """alpha / rank of each layer, from the file's alpha tensors or from the settings that diffusers writes."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._settings = _settings(metadata.get(_METADATA))

    def factor(self, pair: Pair, alpha: float | None) -> float:
        """What the product of the layer's matrices is multiplied with at scale 1."""
        if alpha is None:
            alpha = self._alpha(pair.place)
        if alpha is None:
            return 1.0
        if not 0 <= alpha <= MAX_ALPHA:  # NaN is in no range
            raise AdapterInvalid(f"its alpha must be a number from 0 to {MAX_ALPHA:g}")
        by_root = self._settings.get(f"{pair.place.part}.use_rslora") is True
        return alpha / (math.sqrt(pair.rank) if by_root else pair.rank)

    def _alpha(self, place: Place) -> float | None:
        patterns = self._settings.get(f"{place.part}.alpha_pattern") or {}
        if not isinstance(patterns, dict):
            raise AdapterInvalid("its settings are not valid: alpha_pattern")
        for pattern, alpha in patterns.items():
            if _ends_with(place.path, pattern):
                return _number(alpha)
        alpha = self._settings.get(f"{place.part}.lora_alpha")
        return None if alpha is None else _number(alpha)


def _settings(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AdapterInvalid("its settings are not valid JSON") from error
    if not isinstance(settings, dict):
        raise AdapterInvalid("its settings are not a JSON object")
    if any(name.endswith(".use_dora") and value is True for name, value in settings.items()):
        raise AdapterInvalid("it is no plain LoRA: DoRA is not read")
    return settings


def _ends_with(path: str, pattern: str) -> bool:
    """PEFT takes these patterns as regular expressions; from a stranger's file they are taken as plain names only."""
    name = pattern.removeprefix("^")
    if not re.fullmatch(r"[A-Za-z0-9_.]+", name):
        raise AdapterInvalid("its settings are not valid: alpha_pattern must hold plain names")
    return path == name or (not pattern.startswith("^") and path.endswith(f".{name}"))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_ALPHA:
        raise AdapterInvalid(f"its settings are not valid: an alpha must be a number from 0 to {MAX_ALPHA:g}")
    return float(value)
