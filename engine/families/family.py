"""The seam between the engine's loop and a kind of model: encode, prepare, denoise rows, decode.

The loop knows samples, rows and groups; a family knows which networks turn them into numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

import numpy as np
import torch

from engine.batch import Rows
from engine.decode import Decoding
from engine.denoising import Denoising, Unfinished
from engine.samples import ImageRequest
from engine.text import Embedding


class Family(Protocol):
    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline whose networks it uses."""

    @property
    def networks(self) -> Mapping[str, torch.nn.Module]:
        """What adapters may change: `unet`, `text_encoder`, ..., by the names that adapter files use."""

    def key(self, request: ImageRequest) -> Hashable:
        """What requests must have in common to share a forward: the shapes of their latents and conditioning."""

    def rows(self, request: ImageRequest) -> int:
        """How many rows this request takes in each forward."""

    def encode(self, prompt: str) -> Embedding:
        """One prompt's embedding."""

    def prepare(
        self, request: ImageRequest, encode: Callable[[str], Embedding], *, unfinished: Unfinished | None = None
    ) -> Denoising:
        """A sample's starting point: noise, conditioning and a scheduler of its own.

        Args:
            encode: `self.encode` behind a cache.
            unfinished: what a base model left, where this one is to refine it.
        """

    def denoise(self, rows: Rows) -> torch.Tensor:
        """One forward: the prediction for each row (rows, channels, h/8, w/8)."""

    def preview(self, latents: torch.Tensor) -> np.ndarray:
        """A small, rough picture of latents (1, channels, h/8, w/8): (h, w, 3) uint8."""

    def decode(self, latents: torch.Tensor) -> Decoding:
        """One sample's latents (1, channels, h/8, w/8) as (h, w, 3) uint8, in pieces."""
