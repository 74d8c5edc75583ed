from __future__ import annotations

import pytest

from cli.capacity.demand import Demand, TierDemand
from cli.capacity.pools import Pool, device_seconds, plan, smallest
from cli.capacity.simulation import simulate
from darkroom.jobs import Tier
from tests.cli.capacity.profiles import ROUND, demand

JOBS = 400


def pool(part: TierDemand, *, by_hour: bool = False) -> Pool:
    whole = Demand(price_per_hour=2.0, tiers={Tier.STANDARD: part})
    return plan(whole, ROUND, by_hour=by_hour, seed=1, jobs=JOBS)[Tier.STANDARD]


def test_a_job_costs_its_part_of_full_forwards() -> None:
    assert device_seconds(demand(), ROUND) == pytest.approx(10 * 0.16 / 4)


def test_the_smallest_pool_keeps_the_promise_and_one_worker_fewer_does_not() -> None:
    part = demand(30_000, wait_seconds=1.0)

    workers, outcome = smallest(part, ROUND, per_hour=30_000, most_load=1.0, seed=1, jobs=JOBS)

    assert outcome.wait(0.95) <= 1.0
    fewer = simulate(part, ROUND, per_hour=30_000, workers=workers - 1, seed=1, jobs=JOBS)
    assert fewer.wait(0.95) > 1.0


def test_a_pool_too_large_to_simulate_is_scaled_from_one_that_is_not() -> None:
    part = demand(wait_seconds=1.0)

    workers, outcome = smallest(part, ROUND, per_hour=9_000 * 200, most_load=0.9, seed=1, jobs=JOBS)

    assert 223 <= workers <= 240  # full forwards of 200 make as much, and nine tenths are planned
    assert outcome.wait(0.95) <= 1.0


def test_a_pool_is_not_loaded_beyond_what_is_allowed() -> None:
    patient = demand(90_000, wait_seconds=600)

    half, _ = smallest(patient, ROUND, per_hour=90_000, most_load=0.5, seed=1, jobs=JOBS)
    full, _ = smallest(patient, ROUND, per_hour=90_000, most_load=1.0, seed=1, jobs=JOBS)

    assert (half, full) == (20, 10)


def test_a_pool_of_one_size_is_paid_all_day() -> None:
    hours = [0.0] * 23 + [9_000.0]

    fixed = pool(demand(hours))

    assert set(fixed.workers) == {max(fixed.workers)}
    assert fixed.cost == pytest.approx(2.0 * 24 * max(fixed.workers))
    assert fixed.cost_per_image == pytest.approx(fixed.cost / 9_000)
    assert fixed.load == pytest.approx(9_000 * 0.4 / 3_600 / max(fixed.workers))
    assert fixed.day_load == pytest.approx(fixed.load / 24)


def test_by_the_hour_idle_hours_cost_nothing_and_starts_are_paid() -> None:
    by_hour = pool(demand([0.0] * 23 + [9_000.0]), by_hour=True)

    most = max(by_hour.workers)
    assert list(by_hour.workers) == [0] * 23 + [most]
    assert by_hour.worker_hours == pytest.approx(most * (1 + ROUND.start_seconds / 3_600))
