"""The smallest pool of a tier that keeps its promise, hour by hour, and what it costs.

A pool is simulated, one worker more or fewer until the promise just holds. No pool is loaded beyond `most_load`: a
simulation of some minutes sees too little of the queues that grow there, and real arrivals are less even. Pools larger
than `LARGEST` are simulated as one of that size with its share of the jobs, which waits a little longer than the real
one would: large pools even out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from cli.capacity.demand import HOURS, Demand, TierDemand
from cli.capacity.profile import EngineProfile
from cli.capacity.simulation import JOBS, Outcome, simulate
from darkroom.jobs import Tier

LARGEST = 48
PROMISED = 0.95  # of all jobs


@dataclass(frozen=True)
class Pool:
    """The workers of one tier: as many in every hour as the busiest needs, or in each hour what that one needs."""

    tier: Tier
    workers: Sequence[int]  # in each hour of the day
    busiest: Outcome  # the busiest hour, with its workers
    jobs: float  # a day
    images: float  # a day
    worker_hours: float  # a day, starts included
    cost: float  # a day
    load: float  # of the busiest hour: work against what the workers could do with full forwards
    day_load: float  # the same, over the day

    @property
    def cost_per_image(self) -> float:
        return self.cost / self.images if self.images else 0.0


def plan(demand: Demand, profile: EngineProfile, *, by_hour: bool, seed: int, jobs: int = JOBS) -> Mapping[Tier, Pool]:
    """The pool of each tier."""
    return {
        tier: _pool(tier, part, profile, demand=demand, by_hour=by_hour, seed=seed, jobs=jobs)
        for tier, part in demand.tiers.items()
    }


def device_seconds(demand: TierDemand, profile: EngineProfile) -> float:
    """Of one job, where its forwards are full: less is not possible with this profile."""
    shares = sum(kind.share for kind in demand.mix)
    return sum(
        kind.share / shares * kind.images * (kind.steps * _step_share(kind.rows, kind.pixels, profile))
        + kind.share / shares * kind.images * profile.image(kind.pixels)
        for kind in demand.mix
    )


def _step_share(rows: int, pixels: int, profile: EngineProfile) -> float:
    """An image's part of the forward in which a row costs least."""
    full = max(profile.max_rows // rows, 1)
    return min(profile.forward(rows * together, pixels) / together for together in range(1, full + 1))


def smallest(
    demand: TierDemand, profile: EngineProfile, *, per_hour: float, most_load: float, seed: int, jobs: int = JOBS
) -> tuple[int, Outcome]:
    """The fewest workers that keep the promise at this rate, and what they did."""
    least = max(math.ceil(per_hour / 3_600 * device_seconds(demand, profile) / most_load), 1)
    part = max(least / LARGEST, 1.0)

    @cache
    def outcome(workers: int) -> Outcome:
        return simulate(demand, profile, per_hour=per_hour / part, workers=workers, seed=seed, jobs=jobs)

    def keeps(workers: int) -> bool:
        return outcome(workers).wait(PROMISED) <= demand.wait_seconds

    low = high = max(math.floor(least / part), 1)
    while not keeps(high):
        low, high = high + 1, math.ceil(high * 1.25) + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle + 1, high)
    return math.ceil(high * part), outcome(high)


def _pool(
    tier: Tier, part: TierDemand, profile: EngineProfile, *, demand: Demand, by_hour: bool, seed: int, jobs: int
) -> Pool:
    @cache
    def at_rate(per_hour: float) -> tuple[int, Outcome]:
        return smallest(part, profile, per_hour=per_hour, most_load=demand.most_load, seed=seed, jobs=jobs)

    hours = part.hours
    most, busiest = at_rate(max(hours))
    workers = [at_rate(rate)[0] if rate else 0 for rate in hours] if by_hour else [most] * HOURS
    starts = sum(max(now - before, 0) for before, now in zip([workers[-1], *workers[:-1]], workers, strict=True))
    seconds = device_seconds(part, profile)
    worker_hours = sum(workers) + starts * profile.start_seconds / 3_600
    return Pool(
        tier=tier,
        workers=workers,
        busiest=busiest,
        jobs=sum(hours),
        images=sum(hours) * part.images_a_job,
        worker_hours=worker_hours,
        cost=worker_hours * demand.price_per_hour,
        load=max(hours) * seconds / (3_600 * most),
        day_load=sum(hours) * seconds / (3_600 * worker_hours),
    )
