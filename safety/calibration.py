"""What a detector's raw score means: monotone tables that map it to [0, 1], so that one policy can judge all detectors.

A table is a list of points (raw, score), joined by straight lines and flat beyond both ends. NaN stays NaN, for the
runner to refuse. Knows no detector.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Raw = Annotated[float, Field(allow_inf_nan=False)]
_Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Calibration(BaseModel):
    """One table; scores never fall where raw scores rise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: Annotated[tuple[tuple[_Raw, _Score], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _points_rise(self) -> Self:
        raws, scores = zip(*self.points, strict=True)
        if any(a >= b for a, b in pairwise(raws)):
            raise ValueError("raw scores must rise from point to point")
        if any(a > b for a, b in pairwise(scores)):
            raise ValueError("scores must not fall from point to point")
        return self

    def __call__(self, raw: float) -> float:
        """The score of a raw value."""
        if math.isnan(raw):
            return raw
        place = bisect_right(self.points, raw, key=lambda point: point[0])
        if place == 0:
            return self.points[0][1]
        if place == len(self.points):
            return self.points[-1][1]
        (left, low), (right, high) = self.points[place - 1 : place + 1]
        return low + (high - low) * (raw - left) / (right - left)


IDENTITY = Calibration(points=((0.0, 0.0), (1.0, 1.0)))


def fit(raws: Sequence[float], labels: Sequence[bool], *, bins: int = 24) -> Calibration:
    """The share of positives by raw score, made monotone (pool adjacent violators; Ayer et al. 1955).

    One extra positive and one extra negative are counted in every pool (Laplace), so that no score is a certainty
    which the sample is too small to know.
    """
    pairs = sorted(zip(raws, labels, strict=True))
    size = max(1, len(pairs) // bins)
    pools: list[list[tuple[float, bool]]] = []
    for start in range(0, len(pairs), size):
        pools.append(pairs[start : start + size])
        while len(pools) > 1 and _share(pools[-2]) >= _share(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    return Calibration(points=tuple(_points(pools)))


def _share(pool: Sequence[tuple[float, bool]]) -> float:
    return (sum(label for _, label in pool) + 1) / (len(pool) + 2)


def _points(pools: Sequence[Sequence[tuple[float, bool]]]) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for pool in pools:
        middle = round(sum(raw for raw, _ in pool) / len(pool), 6)
        if not points or middle > points[-1][0]:
            points.append((middle, round(_share(pool), 6)))
    return points
