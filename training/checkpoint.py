"""Weights on disk between sessions: one safetensors file a stage and how far it had come.

Weights alone are enough to go on: the optimizer starts fresh and warms up again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


@dataclass(frozen=True)
class Checkpoint:
    """Where one stage keeps its weights."""

    folder: Path
    stage: str

    @property
    def _weights(self) -> Path:
        return self.folder / f"{self.stage}.safetensors"

    @property
    def _state(self) -> Path:
        return self.folder / f"{self.stage}.json"

    def exists(self) -> bool:
        """Whether there are weights to go on from."""
        return self._weights.is_file()

    def share(self) -> float:
        """Share of the stage's budget already spent; 0 where there are no weights yet."""
        if not (self.exists() and self._state.is_file()):
            return 0.0
        return float(json.loads(self._state.read_text())["share"])

    def save(self, model: torch.nn.Module, *, share: float) -> None:
        """Write the weights, then the share; a cut between the two loses no weights."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self._weights.with_suffix(".new")
        save_file({name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}, new)
        new.replace(self._weights)
        self._state.write_text(json.dumps({"share": round(share, 4)}))

    def load(self, model: torch.nn.Module) -> bool:
        """Put the saved weights into `model`; False where there are none."""
        if not self.exists():
            return False
        model.load_state_dict(load_file(self._weights))
        return True
