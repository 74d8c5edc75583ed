"""Classifier-free guidance of one sample (Ho & Salimans 2022).

A guided sample has two rows, negative prompt first, as in diffusers' pipelines; an unguided one has a single row. The
scale is applied sample by sample, as a Python number, so that fp16 rounds as it does in the reference.
"""

from __future__ import annotations

import torch

UNGUIDED_ROWS = 1
GUIDED_ROWS = 2


def is_guided(guidance_scale: float) -> bool:
    """Whether a sample needs the second row: at scale 1 and below the negative prompt has no say."""
    return guidance_scale > 1


def guide(prediction: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """Join a sample's rows (rows, c, h, w) into its one prediction (1, c, h, w)."""
    if len(prediction) == UNGUIDED_ROWS:
        return prediction
    negative, positive = prediction.chunk(GUIDED_ROWS)
    return negative + guidance_scale * (positive - negative)
