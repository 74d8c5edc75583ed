"""The small network that sees visible overlays, and its files: about 60,000 weights over windows of 128 pixels.

Trained by `training/watermark_detector.py` on painted pictures and painted overlays: about other pictures it says
nothing that anybody measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from darkroom.errors import ConfigurationError
from safety.calibration import Calibration

INFO, WEIGHTS = "overlay.json", "overlay.safetensors"
SIDE = 128


class OverlayInfo(BaseModel):
    """What `overlay.json` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = Field(alias="schema")
    calibration: Calibration


class OverlayNet(nn.Module):
    """Fine strokes are what letters have and shapes don't: full resolution first, then the strongest place counts."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_block(3, 16, stride=1), *_block(16, 32), *_block(32, 48), *_block(48, 64), nn.Conv2d(64, 32, 1), nn.ReLU()
        )
        self.head = nn.Linear(64, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (n,) of pixels (n, 3, side, side) in [-1, 1]."""
        seen = self.layers(pixels)
        logits: Tensor = self.head(torch.cat([seen.amax((2, 3)), seen.mean((2, 3))], 1))[:, 0]
        return logits


def _block(given: int, made: int, *, stride: int = 2) -> tuple[nn.Module, ...]:
    return nn.Conv2d(given, made, 3, stride, 1), nn.BatchNorm2d(made), nn.ReLU()


def tensor_of(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels (height, width, 3) as the network takes them, (1, 3, height, width)."""
    return torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


def save_overlay_net(folder: Path, net: OverlayNet, info: OverlayInfo) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), folder / WEIGHTS)
    (folder / INFO).write_text(info.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")


def load_overlay_net(folder: Path) -> tuple[OverlayNet, OverlayInfo]:
    """Read the files.

    Raises:
        ConfigurationError: they are missing or damaged.
    """
    net = OverlayNet()
    try:
        info = OverlayInfo.model_validate_json((folder / INFO).read_bytes())
        net.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValidationError, SafetensorError, RuntimeError) as error:
        raise ConfigurationError(f"the overlay detector {folder} can't be read: {type(error).__name__}") from error
    return net.eval().requires_grad_(requires_grad=False), info
