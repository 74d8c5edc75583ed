"""Few row counts instead of many: a compiled network is built once for each shape that it sees.

A forward's rows are padded up to the next bucket with copies of its first row, and the prediction is cut back. Rows do
not see one another, so the padding changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from engine.batch import Rows

BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def bucket(rows: int) -> int:
    """The row count that a forward of so many rows is padded to."""
    return next((size for size in BUCKETS if size >= rows), rows)


def pad(rows: Rows) -> Rows:
    count = len(rows.adapters)
    extra = bucket(count) - count
    if not extra:
        return rows
    return replace(
        rows,
        latents=_extend(rows.latents, extra),
        timesteps=_extend(rows.timesteps, extra),
        conditioning={name: _extend(tensor, extra) for name, tensor in rows.conditioning.items()},
        adapters=rows.adapters + ((),) * extra,
    )


def forward_as_is(forward: Callable[[Rows], torch.Tensor], rows: Rows) -> torch.Tensor:
    """A forward of exactly these rows."""
    return forward(rows)


def in_buckets(forward: Callable[[Rows], torch.Tensor], rows: Rows) -> torch.Tensor:
    """The forward of the padded rows, cut back to those that were asked for."""
    return forward(pad(rows))[: len(rows.adapters)]


def compiled_where_plain(forward: Callable[[Rows], torch.Tensor], rows: Rows) -> torch.Tensor:
    """A forward in buckets, compiled; rows with adapters run as they are, for each mix would be compiled anew."""
    if any(rows.adapters):
        with torch.compiler.set_stance("force_eager"):
            return forward(rows)
    return in_buckets(forward, rows)


def _extend(tensor: torch.Tensor, extra: int) -> torch.Tensor:
    return torch.cat([tensor, tensor[:1].expand(extra, *tensor.shape[1:])])
