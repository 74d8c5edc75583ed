"""The deltas of rows that each use another adapter, in two batched products instead of two for each adapter.

Each row's small matrices are stacked for the moment of the layer, which costs little beside what one call for each
adapter does: below a few hundred rows of a product, starting it takes longer than the product. Knows rows and deltas,
not who decides on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from engine.lora.targets import Layer


@dataclass(frozen=True)
class Delta:
    """What one adapter adds to one layer."""

    down: torch.Tensor  # (rank, in) or (rank, in, kernel height, kernel width)
    up: torch.Tensor  # (out, rank) or (out, rank, 1, 1)
    factor: float  # alpha / rank


class Mix:
    """Runs of rows side by side, each with one adapter; the same for every layer of a forward."""

    def __init__(self, start: int, lengths: Sequence[int], slots: Sequence[int], scales: Sequence[float]) -> None:
        """Run i has `lengths[i]` rows, which use the adapter of `slots[i]` at `scales[i]`; the first one is `start`."""
        self.slots = slots
        self.runs = [run for run, length in enumerate(lengths) for _ in range(length)]  # of each row
        self.rows = slice(start, start + len(self.runs))
        self._scales = [scales[run] for run in self.runs]
        self._on_device: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def tensors(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Each row's number, its run's number and its scale (rows, 1, 1), where `like` is."""
        if (
            self._on_device is None
            or self._on_device[2].device != like.device
            or self._on_device[2].dtype != like.dtype
        ):
            runs = torch.tensor(self.runs, device=like.device)
            scales = torch.tensor(self._scales, device=like.device, dtype=like.dtype)
            self._on_device = torch.arange(len(self.runs), device=like.device), runs, scales[:, None, None]
        return self._on_device


def add_mixed(layer: Layer, mix: Mix, by_slot: Mapping[int, Delta], given: torch.Tensor, output: torch.Tensor) -> bool:
    """Add each row's delta to the layer's output, in place; False, and nothing done, where rows must be taken by run.

    Args:
        given: what the layer took: (rows, ..., in), or (rows, in, h, w) for a convolution.
        output: what it gave.
    """
    deltas = [by_slot[slot] for slot in mix.slots if slot in by_slot]
    if len(deltas) < len(mix.slots) or not _alike(deltas) or not (given.is_contiguous() and output.is_contiguous()):
        return False
    given, output = given[mix.rows], output[mix.rows]
    down, up = ([getattr(deltas[run], name).flatten(1) for run in mix.runs] for name in ("down", "up"))
    numbers, runs, scales = mix.tensors(given)
    count, factor = len(mix.runs), deltas[0].factor
    if isinstance(layer, torch.nn.Linear):
        low = torch.bmm(given.view(count, -1, given.shape[-1]), torch.stack(down).mT)  # (rows, n, rank)
        output.view(count, -1, output.shape[-1]).baddbmm_(low.mul_(scales), torch.stack(up).mT, alpha=factor)
        return True
    if _is_pointwise(layer):
        low = torch.bmm(torch.stack(down), given.flatten(2))  # (rows, rank, h * w)
    else:  # every adapter for every row: one call makes up for what is thrown away
        kernels = torch.cat([delta.down for delta in deltas])
        every = functional.conv2d(given, kernels, None, layer.stride, layer.padding, layer.dilation)
        low = every.view(count, len(deltas), -1, every.shape[-2] * every.shape[-1])[numbers, runs]
    output.view(count, output.shape[1], -1).baddbmm_(torch.stack(up), low.mul_(scales), alpha=factor)
    return True


def _alike(deltas: Sequence[Delta]) -> bool:
    first = deltas[0]
    return all(delta.down.shape == first.down.shape and delta.factor == first.factor for delta in deltas)


def _is_pointwise(layer: Any) -> bool:
    return (layer.kernel_size, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0))
