from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from cli.capacity.demand import Kind
from cli.capacity.profile import EngineProfile
from cli.capacity.simulation import Arrival, Outcome, at_quantile, replay, simulate
from tests.cli.capacity.profiles import ROUND, TEN_STEPS, demand

SMALL = Kind(steps=10, width=256, height=256)


def run(arrivals: Sequence[Arrival], *, workers: int = 1, profile: EngineProfile = ROUND) -> Outcome:
    return replay(arrivals, profile, workers=workers, generator=random.Random(1))


def test_a_job_alone_takes_its_steps() -> None:
    outcome = run([(0.0, TEN_STEPS)])

    assert outcome.wait(0.5) < 0.01
    assert outcome.latency(0.5) == pytest.approx(10 * 0.10, abs=0.01)


def test_a_ticket_takes_its_time_to_an_idle_worker() -> None:
    outcome = run([(0.0, TEN_STEPS)], profile=ROUND.model_copy(update={"ticket_seconds": 0.25}))

    assert outcome.wait(0.5) == pytest.approx(0.25)


def test_four_jobs_share_forwards_and_end_sooner_than_one_after_another() -> None:
    outcome = run([(0.0, TEN_STEPS)] * 4)

    assert outcome.latencies[-1] == pytest.approx(10 * 0.16, abs=0.12)  # one step: they join while the first runs


def test_a_short_job_leaves_while_the_long_one_goes_on() -> None:
    short = Kind(steps=2, width=512, height=512)

    outcome = run([(0.0, TEN_STEPS), (0.35, short)])

    assert outcome.latencies[0] < 3 * 0.12 + 0.01  # the rest of a step, and two shared ones
    assert outcome.latencies[1] == pytest.approx(8 * 0.10 + 2 * 0.12, abs=0.01)


def test_who_finds_the_engine_full_waits_for_rows() -> None:
    places = ROUND.model_copy(update={"places": 4})

    outcome = run([(0.0, TEN_STEPS)] * 5, profile=places)

    assert outcome.waits[-1] == pytest.approx(1.6, abs=0.15)
    assert outcome.waits[-2] < 0.1


def test_images_of_two_sizes_take_turns() -> None:
    outcome = run([(0.0, TEN_STEPS), (0.0, SMALL)])

    assert outcome.latencies[0] == pytest.approx(10 * (0.10 + 0.025), abs=0.15)


def test_decoding_costs_device_time_beside_the_steps() -> None:
    slow = ROUND.model_copy(update={"image_seconds": 0.5})

    assert run([(0.0, TEN_STEPS)], profile=slow).latency(0.5) == pytest.approx(1.5, abs=0.01)


def test_all_images_of_a_job_belong_to_it() -> None:
    four = Kind(steps=10, width=512, height=512, images=4)

    assert run([(0.0, four)]).latency(0.5) == pytest.approx(1.6, abs=0.02)


def test_two_workers_do_twice_as_much() -> None:
    burst = [(0.0, TEN_STEPS)] * 64

    alone, both = run(burst), run(burst, workers=2)

    assert both.latencies[-1] == pytest.approx(alone.latencies[-1] / 2, rel=0.1)


def test_the_same_seed_gives_the_same_outcome() -> None:
    def waits(seed: int) -> Sequence[float]:
        return simulate(demand(), ROUND, per_hour=5_000, workers=1, seed=seed, jobs=200).waits

    assert waits(3) == waits(3)
    assert waits(3) != waits(4)


def test_waits_and_utilisation_rise_with_the_rate() -> None:
    # Full forwards make 2.5 jobs a second, 9,000 an hour.
    quiet, busy = (simulate(demand(), ROUND, per_hour=rate, workers=1, seed=1, jobs=1_000) for rate in (2_000, 8_000))

    assert quiet.utilisation < busy.utilisation <= 1.0
    assert quiet.wait(0.95) < busy.wait(0.95)


def test_quantiles_are_values_that_occurred() -> None:
    assert at_quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert at_quantile([1.0], 0.99) == 1.0
