"""Latents -> pixels, one image at a time.

A VAE decode costs about as much as several steps of the batch, so the engine does at most one between two forwards. The
conversion to bytes is the pipeline's own, rounding included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from darkroom.errors import GenerationFailed


def decode(latents: torch.Tensor, *, vae: Any, image_processor: Any) -> np.ndarray:
    """Decode one sample's latents (1, c, h/8, w/8) to (h, w, 3) uint8.

    Raises:
        GenerationFailed: when the latents hold NaN or infinity. It is looked for here, once, because asking the device
            at every step would make the CPU wait for it each time.
    """
    if not torch.isfinite(latents).all():
        raise GenerationFailed("the model's numbers overflowed, so there is no image; another dtype may help")
    image = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]  # (1, 3, h, w) in [-1, 1]
    unit = image_processor.postprocess(image, output_type="np", do_denormalize=[True])[0]  # (h, w, 3) in [0, 1]
    return (unit * 255).round().astype(np.uint8)  # type: ignore[no-any-return]
