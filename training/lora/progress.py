"""How far a training has come, on disk, so that it can go on after a cut: weights, optimizer, step, settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darkroom.errors import ConfigurationError
from training.lora.settings import LoraSettings


@dataclass(frozen=True)
class Reached:
    """The state of a training after so many steps."""

    step: int
    weights: Mapping[str, Tensor]
    optimizer: dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """Where one training keeps its state."""

    file: Path

    def write(self, settings: LoraSettings, reached: Reached) -> None:
        """Replace the state on disk; a cut while writing leaves the one before."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_suffix(".new")
        torch.save({"settings": asdict(settings), **vars(reached)}, new)
        new.replace(self.file)

    def read(self, settings: LoraSettings) -> Reached | None:
        """The state that an earlier run left, or None.

        Raises:
            ConfigurationError: when it was trained with other settings.
        """
        if not self.file.is_file():
            return None
        state = torch.load(self.file, weights_only=True)
        before = state.pop("settings")
        changed = [name for name, value in asdict(settings).items() if before.get(name) != value]
        if changed:
            raise ConfigurationError(
                f"{self.file} is of a training with another {', '.join(changed)}; remove it to start anew"
            )
        return Reached(**state)
