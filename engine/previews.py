"""Small pictures of an image that is still being made, from its latents by a linear map.

A VAE's latents are close to a small, oddly coloured picture, so a matrix over them and their products gives a rough one
at hardly any cost. Every VAE has a latent space of its own; the matrix is fitted to it at load time, on pictures of
random colours.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import torch
from torch.nn import functional

MOST_SIDE = 128  # pixels
_SIDE = 64  # pixels of a picture to learn from
_CELLS = (1, 2, 3, 4)  # colours a side
_EACH = 4  # pictures of each kind
_RIDGE = 1e-3  # keeps features that the pictures hardly move near zero


class LatentPreview:
    """The linear map from one VAE's latents to colours."""

    def __init__(self, weights: torch.Tensor, *, scale: int) -> None:
        self._weights = weights  # (features, 3)
        self._scale = scale  # pixels a latent

    @classmethod
    @torch.no_grad()
    def fit(cls, vae: Any, *, scale: int) -> Self:
        """Encode a few pictures and find the matrix that gives their colours back, by least squares.

        Args:
            vae: it is not changed.
            scale: pixels a latent.
        """
        # Half precision overflows in some encoders, and is slow on a CPU.
        here = vae.dtype == torch.float32 and vae.device.type == "cpu"
        exact = vae if here else copy.deepcopy(vae).to("cpu", torch.float32)
        pictures = _colours()
        latents = torch.cat([_latents(exact, picture) for picture in torch.split(pictures, _EACH)])
        known = _features(latents).flatten(0, 2)  # (points, features)
        wanted = functional.interpolate(pictures, size=latents.shape[-2:], mode="area").movedim(1, -1).flatten(0, 2)
        ridge = _RIDGE * len(known) * torch.eye(known.shape[1])
        return cls(torch.linalg.solve(known.T @ known + ridge, known.T @ wanted), scale=scale)

    def __call__(self, latents: torch.Tensor) -> np.ndarray:
        """(1, channels, h, w) as (h, w, 3) uint8, of the image's shape and at most 128 pixels a side."""
        height, width = latents.shape[-2:]
        share = min(1.0, MOST_SIDE / (max(height, width) * self._scale))
        size = [max(round(side * self._scale * share), 1) for side in (height, width)]
        colours = (_features(latents.float()) @ self._weights.to(latents.device)).movedim(-1, 1)  # (1, 3, h, w)
        smooth = functional.interpolate(colours, size=size, mode="bilinear", antialias=max(size) < max(height, width))
        pixels: np.ndarray = (smooth[0].movedim(0, -1).clamp(-1, 1) * 127.5 + 127.5).round().byte().cpu().numpy()
        return pixels


def _features(latents: torch.Tensor) -> torch.Tensor:
    """(n, channels, h, w) as (n, h, w, features): one, the channels, and the products of any two of them."""
    channels = latents.movedim(1, -1)
    first, second = torch.triu_indices(channels.shape[-1], channels.shape[-1])
    return torch.cat([torch.ones_like(channels[..., :1]), channels, channels[..., first] * channels[..., second]], -1)


def _latents(vae: Any, pictures: torch.Tensor) -> torch.Tensor:
    latents: torch.Tensor = vae.encode(pictures).latent_dist.mode() * vae.config.scaling_factor
    return latents


def _colours() -> torch.Tensor:
    """Patches of random colours, and the same sort blended into one another: (n, 3, side, side), in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    parts = []
    for cells in _CELLS:
        patches = torch.rand(2 * _EACH, 3, cells, cells, generator=generator) * 2 - 1
        hard, soft = torch.split(patches, _EACH)
        parts.append(functional.interpolate(hard, size=(_SIDE, _SIDE), mode="nearest"))
        parts.append(functional.interpolate(soft, size=(_SIDE, _SIDE), mode="bilinear", align_corners=True))
    return torch.cat(parts)
