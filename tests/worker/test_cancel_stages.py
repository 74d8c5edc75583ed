"""A cancel that was accepted is never followed by a result, at whatever stage of the job's life it comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.errors import JobNotCancellable
from darkroom.job_store import Committed, JobStore
from darkroom.jobs import Job, JobStatus
from darkroom.object_store import LocalObjectStore
from engine import Engine
from tests.fixtures.processes import eventually
from tests.worker.workshop import Meanwhile, Running, ScoreEach, Workshop
from worker.orphans import PLACES, Orphans

NETWORKS: dict[str, Callable[[Any], Any]] = {
    "before the first step": lambda pipeline: pipeline.text_encoder,
    "within a step": lambda pipeline: pipeline.unet,
    "during the decode": lambda pipeline: pipeline.vae.decoder.conv_in,
}


def cancel(shop: Workshop, job: Job) -> None:
    shop.jobs.cancel(job.id, owner=job.owner)


def assert_no_result(shop: Workshop, job: Job, folder: Path) -> None:
    ended = shop.get(job)
    assert (ended.status, ended.images) == (JobStatus.CANCELLED, ())
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("stage", ["waiting", "waiting for its not-before time"])
def test_a_waiting_job_never_starts(shop: Workshop, tmp_path: Path, stage: str) -> None:
    job = shop.submit()
    if stage != "waiting":
        shop.jobs.release(shop.claim(), not_before_seconds=0.05)

    cancel(shop, job)
    time.sleep(0.1)
    shop.jobs.reap()

    assert shop.jobs.claimable(job.tier) == 0
    assert_no_result(shop, job, tmp_path)


@pytest.mark.parametrize("stage", NETWORKS)
def test_a_running_job_ends_without_a_result(shop: Workshop, own_engine: Engine, tmp_path: Path, stage: str) -> None:
    shop.engine = own_engine
    job = shop.submit()
    met: list[str] = []

    def cancel_once(*_: object) -> None:
        if not met:
            met.append(stage)
            cancel(shop, job)

    network = NETWORKS[stage](own_engine._family("tiny").pipeline)
    network.register_forward_pre_hook(cancel_once)

    shop.run()

    assert met == [stage]
    assert_no_result(shop, job, tmp_path)


def test_a_job_that_was_claimed_and_not_begun_ends_without_a_result(shop: Workshop, tmp_path: Path) -> None:
    job = shop.submit()
    claim = shop.claim()

    cancel(shop, job)
    shop.runner().run(claim)

    assert_no_result(shop, job, tmp_path)


class CancellingStore(LocalObjectStore):
    """Has the job cancelled while its file is on its way."""

    after_put: Callable[[], None] = staticmethod(lambda: None)

    def put(self, key: str, data: bytes, content_type: str) -> None:
        super().put(key, data, content_type)
        self.after_put()


def test_a_job_whose_images_are_being_stored_ends_without_a_result(shop: Workshop, tmp_path: Path) -> None:
    job = shop.submit(num_images=2)
    store = CancellingStore(tmp_path / "objects", public_url="http://127.0.0.1", secret=b"0" * 16)
    store.after_put = lambda: cancel(shop, job)
    shop.objects = store

    shop.run()

    assert_no_result(shop, job, tmp_path)


@pytest.mark.slow
def test_a_commit_and_a_cancel_at_once_have_one_winner(jobs: JobStore, shop: Workshop, tmp_path: Path) -> None:
    accepted = 0
    for turn in range(20):
        job = shop.submit(num_inference_steps=2 + 2 * turn)
        claim = shop.claim()
        refused = False
        commit = Running(shop.runner(), claim)
        eventually(lambda job=job: shop.get(job).progress.step > 0 or shop.get(job).status.is_terminal)
        try:
            cancel(shop, job)
        except JobNotCancellable:
            refused = True
        commit.result()
        ended = jobs.get(job.id, owner=job.owner)
        accepted += not refused
        assert ended.status is (JobStatus.SUCCEEDED if refused else JobStatus.CANCELLED)
        assert bool(ended.images) is refused
        assert jobs.commit(claim, status=JobStatus.SUCCEEDED) is (Committed.DONE if refused else Committed.CANCELLED)
    assert accepted, "every cancel came too late, so nothing is shown"
    assert len(list(tmp_path.rglob("*.png"))) == 20 - accepted


def test_a_job_in_review_ends_without_a_result(shop: Workshop, objects: LocalObjectStore, tmp_path: Path) -> None:
    job = shop.submit()
    shop.image_checks = [ScoreEach([0.03])]
    shop.run()
    assert shop.get(job).status is JobStatus.IN_REVIEW

    cancel(shop, job)
    orphans = Orphans(shop.jobs, objects, age_seconds=0.0)
    for _ in PLACES:
        orphans.sweep()

    assert_no_result(shop, job, tmp_path)


def test_a_cancel_during_a_check_ends_without_a_result(shop: Workshop, tmp_path: Path) -> None:
    job = shop.submit()
    shop.image_checks = [Meanwhile(lambda: cancel(shop, job))]

    shop.run()

    assert_no_result(shop, job, tmp_path)
