"""Latents -> pixels, in pieces.

Decoding one image costs about as much as several steps of it, and those who are still being denoised are not to wait
for it. So it runs layer by layer, and the loop takes steps between the pieces; the numbers are those of one go. The
conversion to bytes is the pipeline's own, rounding included.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from darkroom.errors import GenerationFailed

Decoding = Generator[None, None, np.ndarray]  # gives way after each piece; its result is (n, h, w, 3) uint8
# Where work is only queued for the device, time says little; the number of pieces still bounds what is queued.
MOST_PIECES = 4


@dataclass(frozen=True)
class Turn:
    """How far a decode may go before others' next step; by default to its end."""

    seconds: float = math.inf
    pieces: float = math.inf

    @classmethod
    def beside(cls, step_seconds: float) -> Self:
        """As long as one of those steps, roughly."""
        return cls(step_seconds, MOST_PIECES)


def decode(latents: torch.Tensor, *, vae: Any, image_processor: Any) -> Decoding:
    """Decode latents (n, c, h/8, w/8).

    Raises:
        GenerationFailed: when the latents hold NaN or infinity. It is looked for here, once, because asking the device
            at every step would make the CPU wait for it each time.
    """
    if not torch.isfinite(latents).all():
        raise GenerationFailed("the model's numbers overflowed, so there is no image; another dtype may help")
    scaled = latents / vae.config.scaling_factor
    if _is_one_piece(vae, scaled):
        image = vae.decode(scaled, return_dict=False)[0]  # (n, 3, h, w) in [-1, 1]
    else:
        image = yield from _layer_by_layer(vae, scaled)
    unit = image_processor.postprocess(image, output_type="np", do_denormalize=[True] * len(image))  # in [0, 1]
    return (unit * 255).round().astype(np.uint8)  # type: ignore[no-any-return]


def go_on(decoding: Decoding, turn: Turn) -> np.ndarray | None:
    """Decode one piece or more; the pixels, once there are any."""
    started, taken = time.monotonic(), 0
    while taken == 0 or (taken < turn.pieces and time.monotonic() - started < turn.seconds):
        try:
            next(decoding)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        taken += 1
    return None


def _is_one_piece(vae: Any, latents: torch.Tensor) -> bool:
    """Whether the VAE must be called as a whole: where it tiles, or where somebody moves it in and out of memory."""
    tiles = vae.use_tiling and max(latents.shape[-2:]) > vae.tile_latent_min_size
    return tiles or bool(vae.decoder._forward_pre_hooks)  # noqa: SLF001 - PyTorch has no public way to ask


def _layer_by_layer(vae: Any, latents: torch.Tensor) -> Generator[None, None, torch.Tensor]:
    """What AutoencoderKL's decoder does, giving way after each of its costly layers."""
    decoder = vae.decoder
    hidden = latents if vae.post_quant_conv is None else vae.post_quant_conv(latents)
    hidden = decoder.mid_block(decoder.conv_in(hidden), None)
    yield
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            hidden = resnet(hidden, temb=None)
            yield
        for upsampler in block.upsamplers or ():
            hidden = upsampler(hidden)
            yield
    image: torch.Tensor = decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(hidden)))
    yield
    return image
