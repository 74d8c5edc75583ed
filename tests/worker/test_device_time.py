"""What an attempt took of the device reaches the job's record and the metrics, however the attempt ends."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from darkroom.costs import MICRO, Price
from darkroom.jobs import Job, JobStatus
from darkroom.usage import UsageLedger
from engine import Engine, EngineObserver
from engine.observer import SilentObserver
from tests.fixtures.processes import eventually
from tests.worker.workshop import LONG, Meanwhile, Running, Workshop


class Clock(SilentObserver):
    """Sums what the device worked."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def step(self, model: str, *, rows: int, seconds: float, samples: int) -> None:  # noqa: ARG002
        self.seconds += seconds

    def alone(self, model: str, *, seconds: float) -> None:  # noqa: ARG002
        self.seconds += seconds


@pytest.fixture
def clock(own_engine: Engine) -> Clock:
    clock = Clock()
    observer: EngineObserver = clock
    own_engine._observer = observer
    return clock


@pytest.fixture
def priced(shop: Workshop, own_engine: Engine, clock: Clock) -> Workshop:
    return dataclasses.replace(shop, engine=own_engine)


def submit(shop: Workshop, job: Job, *, price: Price | None = None) -> Job:
    """The waiting job's price is put in the record, as the API would have."""
    redis_client = shop.jobs._redis
    redis_client.hset(f"darkroom:job:{job.id}", "price", "" if price is None else str(price))
    return job


def test_jobs_that_share_forwards_take_the_devices_time_between_them(
    priced: Workshop, clock: Clock, redis_client: redis.Redis
) -> None:
    jobs = [priced.submit(num_images=1 + index % 2, num_inference_steps=3 + index) for index in range(4)]
    runner = priced.runner()
    claims = [priced.claim() for _ in jobs]

    with ThreadPoolExecutor() as threads:
        list(threads.map(runner.run, claims))

    costs = [priced.get(job).cost for job in jobs]
    assert all(cost.device_us == cost.billed_us > 0 for cost in costs)
    assert sum(cost.device_us for cost in costs) == pytest.approx(clock.seconds * MICRO, abs=len(jobs))
    ledger = UsageLedger(redis_client)
    day = ledger.today()
    assert sum(used.device_us for used in ledger.read(day, day)) == sum(cost.device_us for cost in costs)
    assert priced.count("darkroom_device_seconds_total", model="tiny", outcome="succeeded") == pytest.approx(
        clock.seconds, abs=1e-5
    )


def test_a_cancelled_job_has_spent_and_owes_nothing(priced: Workshop, clock: Clock) -> None:
    job = submit(priced, priced.submit(num_inference_steps=LONG), price=Price(1_000_000_000, "EUR"))
    priced.heartbeat.start()
    run = Running(priced.runner(), priced.claim())
    eventually(lambda: clock.seconds > 0)

    priced.jobs.cancel(job.id, owner=job.owner)
    run.result()
    priced.heartbeat.stop()

    cost = priced.get(job).cost
    assert priced.get(job).status is JobStatus.CANCELLED
    assert cost.device_us == pytest.approx(clock.seconds * MICRO, rel=0.01)
    assert cost.billed == cost.billed_us == 0
    labels = {"owner": "plan:default", "currency": "EUR"}
    assert priced.count("darkroom_cost_total", kind="spent", **labels) == pytest.approx(cost.spent / 1e9, rel=1e-3)
    assert priced.count("darkroom_cost_total", kind="billed", **labels) == 0


def test_the_attempt_after_a_drain_is_billed_alone(priced: Workshop, clock: Clock) -> None:
    job = submit(priced, priced.submit(num_inference_steps=LONG), price=Price(1_000_000_000, "EUR"))
    run = Running(priced.runner(), priced.claim())
    eventually(lambda: clock.seconds > 0)
    priced.drain.begin()
    run.result()
    first = clock.seconds
    fresh = dataclasses.replace(priced)

    priced.jobs._redis.hset(f"darkroom:job:{job.id}", "cancel_requested", "0")
    fresh.image_checks = [Meanwhile(lambda: None)]
    fresh.run()

    cost = fresh.get(job).cost
    assert fresh.get(job).status is JobStatus.SUCCEEDED
    assert cost.device_us == pytest.approx(clock.seconds * MICRO, rel=0.01)
    assert cost.billed_us == pytest.approx((clock.seconds - first) * MICRO, rel=0.01)
