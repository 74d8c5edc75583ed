"""LoRA on one Linear or Conv2d: the base layer runs once for all rows, then each row gets the deltas of its own.

A row's delta is up(down(x)), times alpha / rank, times the row's scale (Hu et al. 2021). Rows that stand next to one
another and use the same adapters share the two small products, which work on views and add in place, whatever the mix.
Where each of several runs of rows has one adapter, all of like rank, the rows share two batched products instead, which
stack the small matrices for the moment (`engine.lora.mixed`). The base layer's weights are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import torch
from torch.nn import functional

from engine.lora.mixed import Delta, Mix, add_mixed
from engine.lora.targets import Layer

Uses = tuple[tuple[int, float], ...]  # one row's (slot, scale) pairs


@dataclass(frozen=True)
class Run:
    """Neighbouring rows that use the same adapters."""

    rows: slice
    uses: Uses


class RowTable:
    """Which rows of the forward under way use which slots. One model's layers share it; only its device thread does."""

    def __init__(self) -> None:
        self.runs: tuple[Run, ...] = ()  # of rows with adapters, alone
        self.rows: int | None = None  # how many there must be; None where all are alike
        self.mix: Mix | None = None  # of the runs, where each has one adapter

    @contextmanager
    def each(self, rows: Sequence[Uses]) -> Iterator[None]:
        """Within it, row i of every layer's input uses `rows[i]`."""
        runs, start = [], 0
        for uses, alike in groupby(rows):
            stop = start + len(list(alike))
            if uses:
                runs.append(Run(slice(start, stop), uses))
            start = stop
        with self._set(tuple(runs), len(rows)):
            yield

    @contextmanager
    def every(self, uses: Uses) -> Iterator[None]:
        """Within it, all rows use the same, however many they are."""
        with self._set((Run(slice(None), uses),) if uses else (), None):
            yield

    @contextmanager
    def _set(self, runs: tuple[Run, ...], rows: int | None) -> Iterator[None]:
        before = self.runs, self.rows, self.mix
        self.runs, self.rows, self.mix = runs, rows, _mix(runs)
        try:
            yield
        finally:
            self.runs, self.rows, self.mix = before


def _mix(runs: Sequence[Run]) -> Mix | None:
    """The runs as one block of rows; None where that would be no gain, or they leave rows between them out."""
    neighbours = all(one.rows.stop == other.rows.start for one, other in pairwise(runs))
    if len(runs) < 2 or not neighbours or any(len(run.uses) > 1 for run in runs):
        return None
    uses = [run.uses[0] for run in runs]
    lengths = [run.rows.stop - run.rows.start for run in runs]
    return Mix(runs[0].rows.start, lengths, [slot for slot, _ in uses], [scale for _, scale in uses])


class LoraLayer:
    """The resident adapters of one layer, added to what the layer gives.

    It is a hook, not a module in the layer's place: the network's modules, parameters and state dict stay as they are,
    and a layer that no resident adapter changes carries nothing at all.
    """

    def __init__(self, layer: Layer, table: RowTable) -> None:
        self._layer = layer
        self._table = table
        self._add = _add_linear if isinstance(layer, torch.nn.Linear) else _add_conv
        self._deltas: dict[int, Delta] = {}
        self._hook: Any = None

    def put(self, slot: int, delta: Delta) -> None:
        self._deltas[slot] = delta
        if self._hook is None:
            self._hook = self._layer.register_forward_hook(self._after)

    def drop(self, slot: int) -> None:
        self._deltas.pop(slot, None)
        if not self._deltas and self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _after(self, _layer: Layer, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        """PyTorch calls this with what the base layer took and gave; None leaves that as it is."""
        table = self._table
        if not table.runs:
            return None
        (given,) = inputs
        if table.rows not in (None, len(given)):
            raise RuntimeError(f"{len(given)} rows came to a layer, but the table has {table.rows}")
        if table.mix is not None and add_mixed(self._layer, table.mix, self._deltas, given, output):
            return output
        for run in table.runs:
            for slot, scale in run.uses:
                delta = self._deltas.get(slot)
                if delta is not None:
                    self._add(self._layer, delta, scale * delta.factor, given[run.rows], output[run.rows])
        return output


def _add_linear(_layer: Layer, delta: Delta, scale: float, given: torch.Tensor, output: torch.Tensor) -> None:
    low = functional.linear(given, delta.down)  # (rows, ..., rank)
    # A view, never a copy: what a matrix product gives is contiguous, and `view` would raise if it were not.
    output.view(-1, output.shape[-1]).addmm_(low.reshape(-1, low.shape[-1]), delta.up.mT, alpha=scale)


def _add_conv(layer: Any, delta: Delta, scale: float, given: torch.Tensor, output: torch.Tensor) -> None:
    low = functional.conv2d(given, delta.down, None, layer.stride, layer.padding, layer.dilation)  # (rows, rank, h, w)
    output.add_(functional.conv2d(low, delta.up), alpha=scale)
