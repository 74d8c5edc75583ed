"""The page of `bench.parity`: what was measured, as Markdown.

It takes figures and makes none.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

import diffusers
import torch

TABLE = """\
# Parity with StableDiffusionPipeline

Model {model}, fp32 on the CPU, {images} images end to end. Each figure is the worst relative difference
||ours - reference|| / ||reference|| of the final latents (in the last two rows: of any single step).
Guidance {guidance} x {steps} steps; LCM and TCD end to end at guidance x steps {consistency}.
In the crowd all of them are mixed, {crowd} in flight, each joining while others run. Bound: {bound:g}.

| scheduler | images | alone | in the crowd |
|---|---|---|---|
{rows}

Worst: **{worst:.1e}**. Images beyond the bound:

{beyond}

There rounding grows from step to step, the reference's own as well.

Random mixes (scheduler, guidance 1 to 12, rescale, stop and 2 to 30 steps drawn at random), {mixes} images in a crowd:
worst {mixes_worst:.1e}; {above} above {bound:g}, where the bound becomes ten times the difference that a batch of
{crowd} makes to the reference itself; {mixes_beyond} above that.

torch {torch}, diffusers {diffusers}, {machine}, {threads} thread(s). Made by `python -m bench.parity models/{model}`.
"""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    images: int
    alone: float  # worst relative difference
    crowd: float


@dataclass(frozen=True)
class Beyond:
    """An image beyond the bound, and how far the reference's own rounding moves it."""

    what: str
    off: float
    own: float

    def __str__(self) -> str:
        return (
            f"{self.what} is {self.off:.1e} off in the crowd; a batch of eight moves diffusers' own image "
            f"by {self.own:.1e}."
        )


@dataclass(frozen=True)
class Measured:
    """What was run."""

    model: str
    guidance: Sequence[float]
    steps: Sequence[int]
    consistency: Sequence[tuple[float, int]]  # (guidance, steps) of the consistency samplers, end to end
    crowd: int  # samples in flight
    bound: float  # relative difference


def page(
    measured: Measured,
    *,
    rows: Sequence[Row],
    stepwise: Sequence[Row],
    beyond: Sequence[Beyond],
    mixes: Sequence[tuple[float, float]],
) -> str:
    """The page.

    Args:
        rows: images held end to end.
        stepwise: images held one step at a time; they come last.
        mixes: (difference, bound) of each image of the random mixes.
    """
    lines = [*rows, *stepwise]
    return TABLE.format(
        model=measured.model,
        images=sum(row.images for row in rows),
        guidance=", ".join(f"{scale:g}" for scale in measured.guidance),
        steps=", ".join(map(str, measured.steps)),
        consistency=", ".join(f"{scale:g} x {steps}" for scale, steps in measured.consistency),
        crowd=measured.crowd,
        bound=measured.bound,
        rows="\n".join(f"| {row.what} | {row.images} | {row.alone:.1e} | {row.crowd:.1e} |" for row in lines),
        beyond="\n".join(f"- {image}" for image in beyond) or "- None.",
        worst=max(max(row.alone, row.crowd) for row in lines),
        mixes=len(mixes),
        mixes_worst=max(off for off, _ in mixes),
        above=sum(off > measured.bound for off, _ in mixes),
        mixes_beyond=sum(off > bound for off, bound in mixes),
        torch=torch.__version__,
        diffusers=diffusers.__version__,
        machine=platform.machine(),
        threads=torch.get_num_threads(),
    )
