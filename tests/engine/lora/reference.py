"""diffusers' own way to the same image: `load_lora_weights` and `set_adapters`, which PEFT carries out."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from bench.parity import Reference
from engine import AdapterFile, ImageRequest


class LoraReference(Reference):
    """The pipeline, with any adapters of a set of files."""

    def __init__(self, folder: Path, files: dict[str, AdapterFile]) -> None:
        super().__init__(folder)
        self._files = files
        self._loaded: set[str] = set()

    def latents(self, request: ImageRequest) -> torch.Tensor:
        self.use({use.name: use.scale for use in request.adapters})
        return super().latents(request)

    def use(self, scales: dict[str, float]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a second adapter, and of parts that a file has nothing for
            for name in scales.keys() - self._loaded:
                self.pipeline.load_lora_weights(str(self._files[name].path), adapter_name=name)
                self._loaded.add(name)
            if scales:
                self.pipeline.enable_lora()
                self.pipeline.set_adapters(list(scales), list(scales.values()))
            elif self._loaded:
                self.pipeline.disable_lora()
