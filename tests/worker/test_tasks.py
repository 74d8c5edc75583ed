"""Working one ticket off."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.exceptions import Reject

from darkroom.errors import DarkroomError
from darkroom.jobs import Job, JobStatus, Tier
from darkroom.object_store import LocalObjectStore
from engine import Engine
from tests.darkroom.passing_time import end_lease
from tests.engine.factories import set_trap
from tests.fixtures.processes import eventually
from tests.worker.workshop import LONG, Workshop
from worker.hands import Hands
from worker.tasks import Work


def make_work(shop: Workshop, *, models: tuple[str, ...] = ("tiny",)) -> Work:
    return Work(
        jobs=shop.jobs,
        runner=shop.runner(),
        engine=shop.engine,
        drain=shop.drain,
        hands=Hands(),
        worker="w1",
        models=models,
        lease_seconds=30,
    )


def test_a_ticket_works_one_job_off(shop: Workshop) -> None:
    first, second = shop.submit(), shop.submit()

    make_work(shop).work(Tier.STANDARD)

    assert shop.get(first).status is JobStatus.SUCCEEDED
    assert shop.get(second).status is JobStatus.QUEUED


def test_a_ticket_without_a_job_is_spent_quietly(shop: Workshop) -> None:
    make_work(shop).work(Tier.STANDARD)

    assert shop.engine.stats().waiting == 0


def test_a_worker_claims_nothing_that_it_can_not_run(shop: Workshop) -> None:
    job = shop.submit(model="another")

    make_work(shop).work(Tier.STANDARD)

    assert shop.get(job).status is JobStatus.QUEUED


def test_a_draining_worker_gives_the_ticket_back_untouched(shop: Workshop) -> None:
    job = shop.submit()
    shop.drain.begin()

    with pytest.raises(Reject) as caught:
        make_work(shop).work(Tier.STANDARD)

    assert caught.value.requeue
    assert (shop.get(job).status, shop.get(job).attempt) == (JobStatus.QUEUED, 0)


def test_a_job_released_by_a_drain_gives_its_ticket_back(shop: Workshop) -> None:
    shop.submit(num_inference_steps=LONG)
    caught: list[Reject] = []

    def work() -> None:
        try:
            make_work(shop).work(Tier.STANDARD)
        except Reject as reject:
            caught.append(reject)

    thread = threading.Thread(target=work)
    thread.start()
    eventually(lambda: shop.engine.stats().running)
    shop.drain.begin()
    thread.join(5)

    assert [reject.requeue for reject in caught] == [True]


def test_a_full_engine_leaves_jobs_to_others(shop: Workshop, own_engine: Engine) -> None:
    gate = threading.Event()
    set_trap(own_engine, "unet", lambda _latents: gate.wait(60))
    shop.engine = own_engine
    jobs = [shop.submit(num_images=8), shop.submit()]
    work = make_work(shop)
    threads = [threading.Thread(target=work.work, args=(Tier.STANDARD,)) for _ in jobs]

    threads[0].start()
    eventually(lambda: own_engine.capacity() == 0)
    threads[1].start()

    threads[1].join(0.3)
    assert shop.get(jobs[1]).status is JobStatus.QUEUED
    gate.set()
    for thread in threads:
        thread.join(30)
    assert shop.get(jobs[1]).status is JobStatus.SUCCEEDED


class BuggyStore(LocalObjectStore):
    def put(self, *_: object) -> None:
        raise ZeroDivisionError("a canary")


def test_a_bug_fails_its_job_and_not_the_thread(
    shop: Workshop, tmp_path: Path, captured_logs: list[dict[str, Any]]
) -> None:
    job = shop.submit(prompt="a canary")
    shop.objects = BuggyStore(tmp_path, public_url="http://127.0.0.1", secret=b"0" * 16)

    make_work(shop).work(Tier.STANDARD)

    failed = shop.get(job)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.code == DarkroomError.code
    assert "job_met_a_bug" in [event["event"] for event in captured_logs]
    assert "canary" not in str(captured_logs)


def make_suspect(shop: Workshop, client: redis.Redis, **params: Any) -> Job:
    job = shop.submit(**params)
    assert shop.claim(worker="dead", suspects_last=True).job.id == job.id
    end_lease(client, job)
    shop.jobs.reap()
    return job


def test_a_suspect_waits_for_its_neighbours_and_keeps_others_waiting(
    shop: Workshop, own_engine: Engine, redis_client: redis.Redis
) -> None:
    shop.engine = own_engine
    gate = threading.Event()
    set_trap(own_engine, "unet", lambda _latents: gate.wait(60))
    innocent = shop.submit()
    work = make_work(shop)
    threads = [threading.Thread(target=work.work, args=(Tier.STANDARD,)) for _ in range(3)]
    threads[0].start()
    eventually(lambda: own_engine.stats().running)
    suspect, late = make_suspect(shop, redis_client), shop.submit()

    for thread in threads[1:]:
        thread.start()
    threads[1].join(0.5)
    assert [shop.get(job).status for job in (suspect, late)] == [JobStatus.QUEUED] * 2
    gate.set()
    for thread in threads:
        thread.join(30)

    ends = [shop.get(job) for job in (innocent, suspect, late)]
    assert [job.status for job in ends] == [JobStatus.SUCCEEDED] * 3
    assert [job.started_at for job in ends] == sorted(job.started_at or 0.0 for job in ends)
    assert (ends[1].finished_at or 0.0) <= (ends[2].started_at or 0.0)


def test_many_suspects_and_others_are_all_worked_off_by_one_process(shop: Workshop, redis_client: redis.Redis) -> None:
    suspects = [make_suspect(shop, redis_client) for _ in range(4)]
    others = [shop.submit() for _ in range(4)]
    work = make_work(shop)
    threads = [threading.Thread(target=work.work, args=(Tier.STANDARD,)) for _ in range(16)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert {shop.get(job).status for job in (*suspects, *others)} == {JobStatus.SUCCEEDED}


def test_a_thread_that_holds_gives_its_ticket_back_when_the_worker_leaves(
    shop: Workshop, redis_client: redis.Redis
) -> None:
    shop.submit()
    shop.claim(worker="w1")
    suspect = make_suspect(shop, redis_client)
    caught: list[Reject] = []

    def work() -> None:
        try:
            make_work(shop).work(Tier.STANDARD)
        except Reject as reject:
            caught.append(reject)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.2)
    shop.drain.begin()
    thread.join(5)

    assert [reject.requeue for reject in caught] == [True]
    assert shop.get(suspect).status is JobStatus.QUEUED
