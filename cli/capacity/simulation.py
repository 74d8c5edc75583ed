"""A pool of simulated workers and the jobs that come to it: how long they wait, how busy the workers are.

One tier's queue is first come, first served; which of the workers with room takes a job is chance, as it is with
tickets. Arrivals are Poisson at a constant rate unless they are given; the first part warms the pool up and counts
nowhere.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from cli.capacity.demand import Kind, TierDemand
from cli.capacity.engine_model import SimulatedJob, SimulatedWorker
from cli.capacity.profile import EngineProfile

JOBS = 10_000  # that count, in one simulation
WARM_UP_LOADS = 5  # what a pool holds at once, so many times over, before they count
Arrival = tuple[float, Kind]  # seconds from the beginning


@dataclass(frozen=True)
class Outcome:
    """What a simulation showed. Waits and latencies in seconds, sorted."""

    waits: Sequence[float]  # from submission to the claim
    latencies: Sequence[float]  # from submission to the end
    utilisation: float  # share of the time in which engines had something to do

    def wait(self, quantile: float) -> float:
        return at_quantile(self.waits, quantile)

    def latency(self, quantile: float) -> float:
        return at_quantile(self.latencies, quantile)


def at_quantile(ordered: Sequence[float], quantile: float) -> float:
    """The value that this share of all does not exceed."""
    return ordered[min(int(len(ordered) * quantile), len(ordered) - 1)]


def simulate(
    demand: TierDemand, profile: EngineProfile, *, per_hour: float, workers: int, seed: int, jobs: int = JOBS
) -> Outcome:
    """A constant rate, long enough for `jobs` of them after the pool is warm."""
    generator = random.Random(seed)
    warm = WARM_UP_LOADS * workers * max(profile.max_rows // 2, 1)
    arrivals = _poisson(demand, per_hour=per_hour, count=warm + jobs, generator=generator)
    return replay(arrivals, profile, workers=workers, generator=generator, skip=warm)


def replay(
    arrivals: Iterable[Arrival], profile: EngineProfile, *, workers: int, generator: random.Random, skip: int = 0
) -> Outcome:
    """Given arrivals, until the last of them has ended; the first `skip` jobs count nowhere."""
    clock = simpy.Environment()
    queue: deque[SimulatedJob] = deque()
    pool = [SimulatedWorker(clock, profile, queue, generator) for _ in range(workers)]
    jobs: list[SimulatedJob] = []
    clock.process(_arrive(clock, arrivals, queue=queue, jobs=jobs, pool=pool, generator=generator))
    clock.run()
    counted = jobs[skip:]
    return Outcome(
        waits=sorted(job.claimed - job.created for job in counted),
        latencies=sorted(job.finished - job.created for job in counted),
        utilisation=sum(worker.busy_seconds for worker in pool) / (workers * clock.now),
    )


def _poisson(demand: TierDemand, *, per_hour: float, count: int, generator: random.Random) -> Iterator[Arrival]:
    at = 0.0
    for _ in range(count):
        at += generator.expovariate(per_hour / 3_600)
        yield at, demand.draw(generator)


def _arrive(
    clock: simpy.Environment,
    arrivals: Iterable[Arrival],
    *,
    queue: deque[SimulatedJob],
    jobs: list[SimulatedJob],
    pool: Sequence[SimulatedWorker],
    generator: random.Random,
) -> Generator[simpy.Event, Any, None]:
    for at, kind in arrivals:
        yield clock.timeout(max(at - clock.now, 0.0))
        job = SimulatedJob(kind, clock.now)
        jobs.append(job)
        queue.append(job)
        if able := [worker for worker in pool if worker.has_room()]:
            generator.choice(able).look()
