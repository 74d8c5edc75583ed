"""One vector for an image: the vision side of any CLIP in transformers' format, scaled to length one.

Similarity to references and the concept checker of a separate file both work on these vectors; the SHA-256 of the
weights says which vectors belong together. Needs torch, so only a worker and the commands that make references load it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, CLIPVisionModelWithProjection
from transformers.utils import logging

from darkroom.errors import ConfigurationError

WEIGHTS = "model.safetensors"


class ImageEmbedder:
    """One CLIP folder, loaded."""

    def __init__(self, folder: Path) -> None:
        """Load the vision side.

        Raises:
            ConfigurationError: the folder holds no such model.
        """
        try:
            self.sha256 = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
            self._processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            self._model = load_vision(folder)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the image embedder can't be loaded: {type(error).__name__}") from error
        self.dimensions: int = self._model.config.projection_dim

    @torch.inference_mode()
    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Unit vectors, (n, dimensions)."""
        # One by one, because images of one batch may differ in size.
        pixels = [self._processor(images=image, return_tensors="pt")["pixel_values"] for image in images]
        return normalize(self._model(torch.cat(pixels)).image_embeds)


def load_vision(folder: Path) -> CLIPVisionModelWithProjection:
    """The vision side alone. A whole CLIP's text side is left in the file, which is no cause for a warning."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model = CLIPVisionModelWithProjection.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    finally:
        logging.set_verbosity(before)
    return model.eval().requires_grad_(requires_grad=False)
