"""Small images that are done at the same time, decoded in one call where nobody waits for the device.

That is what a pipeline does with a batch; one small image leaves most of a device idle. Knows samples, not the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from engine.decode import Decoding, Turn, go_on
from engine.failures import raise_if_fatal
from engine.samples import Sample

# Latent positions of one call: eight images of 128 x 128, none of 512, which fill a device each and whose activations
# are what a memory runs out of.
MOST_TOGETHER = 8 * 16 * 16


def decode_together(samples: Sequence[Sample], start: Callable[[torch.Tensor], Decoding]) -> None:
    """Decode the first sample and small ones like it in one call; their decodings then end at once.

    Where that fails, nothing has happened, and each sample's own decoding tells whose fault it was.

    Args:
        samples: denoised ones; of those that a decoding has begun for, and of other models, none takes part.
        start: the decoding of some latents (n, c, h/8, w/8) of the first sample's model.
    """
    first = samples[0]
    room = MOST_TOGETHER // first.tensors.latents[0, 0].numel()
    alike = [sample for sample in samples if _kind(sample) == _kind(first) and sample.decoding is None][:room]
    if len(alike) < 2 or alike[0] is not first:
        return
    try:
        images = go_on(start(torch.cat([sample.tensors.latents for sample in alike])), Turn())
    except Exception as error:  # noqa: BLE001 - whatever a network raises
        raise_if_fatal(error)
        return
    assert images is not None, "a turn without bounds goes to the end"
    for sample, image in zip(alike, images, strict=True):
        sample.decoding = _ended(image[None])


def _kind(sample: Sample) -> tuple[str, torch.Size]:
    return sample.model, sample.tensors.latents.shape


def _ended(images: np.ndarray) -> Decoding:
    yield from ()
    return images
