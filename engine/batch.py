"""One forward for many samples: their rows in, each one's prediction out.

A forward that fails is narrowed down, so that one sample's fault is that sample's alone: out of memory halves the
samples, any other error tries them one by one. A lost device is nobody's fault and is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.denoising import RowAdapters
from engine.device import free_memory
from engine.failures import is_out_of_memory, raise_if_fatal
from engine.samples import Sample
from engine.text import Embedding, stack


@dataclass(frozen=True)
class Rows:
    """The input of one forward."""

    latents: torch.Tensor  # (rows, channels, height/8, width/8)
    timesteps: torch.Tensor  # (rows,): every row has its own
    conditioning: Embedding  # each (rows, ...)
    adapters: tuple[RowAdapters, ...]  # (rows): each row has its own LoRAs


def gather(samples: Sequence[Sample]) -> Rows:
    """Stack the samples' rows, sample after sample."""
    parts = [sample.tensors for sample in samples]
    latents = torch.cat([part.model_input() for part in parts])
    # float32 holds the fractional timesteps that Euler uses, and whole ones exactly; the UNet casts to it anyway.
    timesteps = torch.stack([part.timestep.float() for part in parts for _ in range(part.rows)])
    conditioning = stack([part.conditioning for part in parts])
    adapters = tuple(part.adapters for part in parts for _ in range(part.rows))
    return Rows(latents, timesteps.to(latents.device), conditioning, adapters)


def predict(
    samples: Sequence[Sample],
    forward: Callable[[Rows], torch.Tensor],
    *,
    failed: Callable[[Sample, Exception], None],
    too_large: Callable[[int], None],
) -> list[tuple[Sample, torch.Tensor]]:
    """Each sample's rows of the prediction (rows, channels, h/8, w/8); samples that fail alone are left out.

    Args:
        failed: told of each sample whose own forward failed, and why.
        too_large: told of each number of rows that did not fit the memory though fewer may.
    """
    rows = [sample.tensors.rows for sample in samples]
    try:
        parts = torch.split(forward(gather(samples)), rows)
    except Exception as error:  # noqa: BLE001 - whatever a network raises is narrowed down
        raise_if_fatal(error)
        if len(samples) == 1:
            failed(samples[0], error)
            return []
        short_of_memory = is_out_of_memory(error)
    else:
        for sample in samples:
            sample.shared(sum(rows))
        return list(zip(samples, parts, strict=True))

    # Out of the except clause: while the error lives, its traceback holds the tensors of the forward that failed.
    if short_of_memory:
        too_large(sum(rows))
        free_memory()
    size = (len(samples) + 1) // 2 if short_of_memory else 1
    narrowed = [samples[start : start + size] for start in range(0, len(samples), size)]
    return [pair for part in narrowed for pair in predict(part, forward, failed=failed, too_large=too_large)]
