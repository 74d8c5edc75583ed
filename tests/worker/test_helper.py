"""An idle worker helps another tier, and stops when its own has work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from darkroom.jobs import Job, JobStatus, Tier
from engine import Engine
from tests.darkroom.factories import make_job, make_params, run_one
from tests.darkroom.passing_time import end_lease
from tests.engine.factories import set_trap
from tests.fixtures.processes import eventually
from tests.worker.workshop import LONG, Workshop
from worker.hands import Hands
from worker.helper import Helper
from worker.tasks import Work

MakeHelper = Callable[..., tuple[Helper, Hands, Work]]


@pytest.fixture
def make_helper(shop: Workshop) -> Iterator[MakeHelper]:
    made: list[Helper] = []

    def make(*, idle_seconds: float = 0.0, places: int = 4) -> tuple[Helper, Hands, Work]:
        hands = Hands()
        work = Work(
            jobs=shop.jobs, runner=shop.runner(), engine=shop.engine, drain=shop.drain, hands=hands, worker="w1",
            models=("tiny",), lease_seconds=30,
        )  # fmt: skip
        helper = Helper(
            work, shop.engine, hands, shop.drain, tiers=[Tier.QUALITY], idle_seconds=idle_seconds, places=places,
            metrics=shop.metrics,
        )  # fmt: skip
        made.append(helper)
        helper.start()
        return helper, hands, work

    yield make
    shop.drain.begin()
    for helper in made:
        helper.finish()


def submit(shop: Workshop, tier: Tier, **params: object) -> Job:
    wanted = {"width": 64, "height": 64, "num_inference_steps": 4, **params}
    return shop.jobs.submit(make_job(tier=tier, params=make_params(**wanted))).job


def test_an_idle_worker_makes_another_tiers_jobs(shop: Workshop, make_helper: MakeHelper) -> None:
    jobs = [submit(shop, Tier.QUALITY) for _ in range(3)]

    make_helper()

    eventually(lambda: {shop.get(job).status for job in jobs} == {JobStatus.SUCCEEDED})
    eventually(lambda: shop.count("darkroom_helped_jobs_total", tier="quality", result="finished") == 3)


def test_a_worker_helps_only_the_tiers_it_is_told_to(shop: Workshop, make_helper: MakeHelper) -> None:
    preview, quality = submit(shop, Tier.PREVIEW), submit(shop, Tier.QUALITY)

    make_helper()

    eventually(lambda: shop.get(quality).status is JobStatus.SUCCEEDED)
    assert shop.get(preview).status is JobStatus.QUEUED


def test_a_worker_that_was_busy_a_moment_ago_does_not_help_yet(shop: Workshop, make_helper: MakeHelper) -> None:
    job = submit(shop, Tier.QUALITY)
    _helper, hands, _work = make_helper(idle_seconds=60)

    with hands.ticket():
        pass

    threading.Event().wait(0.8)
    assert shop.get(job).status is JobStatus.QUEUED


def test_own_work_that_finds_no_room_sends_helped_jobs_back_without_a_strike(
    shop: Workshop, own_engine: Engine, make_helper: MakeHelper
) -> None:
    shop.engine = own_engine
    helped = submit(shop, Tier.QUALITY, num_images=8, num_inference_steps=LONG)
    _helper, _hands, work = make_helper(places=1)
    eventually(lambda: own_engine.capacity() == 0)
    own = submit(shop, Tier.STANDARD)

    thread = threading.Thread(target=work.work, args=(Tier.STANDARD,))
    thread.start()
    thread.join(30)

    assert shop.get(own).status is JobStatus.SUCCEEDED
    waiting = shop.get(helped)
    assert waiting.error is None
    assert waiting.status in {JobStatus.QUEUED, JobStatus.RUNNING}  # it may be helped again by now
    eventually(lambda: shop.count("darkroom_helped_jobs_total", tier="quality", result="returned") == 1)


def test_own_work_joins_the_batch_of_helped_jobs_where_there_is_room(
    shop: Workshop, own_engine: Engine, make_helper: MakeHelper
) -> None:
    shop.engine = own_engine
    gate = threading.Event()
    set_trap(own_engine, "unet", lambda _latents: gate.wait(60))
    helped = submit(shop, Tier.QUALITY)
    _helper, _hands, work = make_helper(places=1)
    eventually(lambda: own_engine.stats().running == 1)
    own = submit(shop, Tier.STANDARD)

    thread = threading.Thread(target=work.work, args=(Tier.STANDARD,))
    thread.start()
    eventually(lambda: shop.get(own).status is JobStatus.RUNNING)
    gate.set()
    thread.join(30)

    assert {shop.get(job).status for job in (own,)} == {JobStatus.SUCCEEDED}
    eventually(lambda: shop.get(helped).status is JobStatus.SUCCEEDED)


def test_a_suspect_is_left_to_its_own_pool(shop: Workshop, make_helper: MakeHelper, redis_client: object) -> None:
    suspect = submit(shop, Tier.QUALITY)
    run_one(shop.jobs, tier=Tier.QUALITY, worker="dead")
    end_lease(redis_client, suspect)  # type: ignore[arg-type]
    shop.jobs.reap()

    make_helper()

    threading.Event().wait(0.8)
    assert (shop.get(suspect).status, shop.get(suspect).attempt) == (JobStatus.QUEUED, 1)


def test_a_worker_that_leaves_gives_helped_jobs_back(shop: Workshop, make_helper: MakeHelper) -> None:
    job = submit(shop, Tier.QUALITY, num_inference_steps=LONG)
    helper, _hands, _work = make_helper()
    eventually(lambda: shop.get(job).status is JobStatus.RUNNING)

    shop.drain.begin()
    helper.finish()

    assert shop.get(job).status is JobStatus.QUEUED
