"""The review queue on a real Valkey: each item is decided once, by one person, and silence releases nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from darkroom.audit import AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.errors import (
    InvalidParams,
    JobNotFound,
    ObjectNotFound,
    ObjectStoreUnavailable,
    ReviewDecided,
    ReviewLeaseLost,
    ReviewTaken,
    SecondPersonNeeded,
)
from darkroom.job_store import JobStore
from darkroom.jobs import Job, JobStatus
from darkroom.object_store import LocalObjectStore
from darkroom.review import Item, ReviewQueue, Ruling
from darkroom.settings import JobSettings
from tests.darkroom.factories import make_image, run_one, submit_job
from tests.fixtures.secret_file import SEALER

S = JobStatus


@dataclass
class Desk:
    """A queue, what stands behind it, and the audit log."""

    jobs: JobStore
    objects: LocalObjectStore
    queue: ReviewQueue
    redis: redis.Redis

    def hold(self, *decisions: str) -> Job:
        """A job whose images wait, or do not, as the decisions say."""
        submit_job(self.jobs)
        claim = run_one(self.jobs)
        images = []
        for index, decision in enumerate(decisions or ("review",)):
            place = "review" if decision == "review" else "outputs"
            key = f"{place}/{claim.job.id}/1/{index}.png"
            self.objects.put(key, f"pixels {index}".encode(), "image/png")
            images.append(make_image(index=index, key=key, decision=decision))
        self.jobs.commit(claim, status=S.IN_REVIEW, images=images)
        return claim.job

    def lease(self, person: str, job: Job | None = None) -> Item:
        item = self.queue.lease(person, seconds=60, job_id=job.id if job else None)
        assert item is not None
        return item

    def get(self, job: Job) -> Job:
        return self.jobs.get(job.id, owner=job.owner)

    def end_lease(self, job: Job) -> None:
        self.redis.hset(f"darkroom:job:{job.id}", "review_until", "1")

    def pass_time(self, job: Job) -> None:
        self.redis.zadd("darkroom:review", {job.id: 1}, xx=True)

    def audited(self, job: Job) -> list[tuple[str, str]]:
        """Who did what to the job; the whole chain must hold."""
        segments = AuditSegments(AuditLog(self.redis), self.objects)
        segments.verify()
        return [(entry.actor, entry.action) for entry in segments.entries() if entry.subject == job.id]


@pytest.fixture
def desk(redis_client: redis.Redis, tmp_path: Path) -> Desk:
    objects = LocalObjectStore(tmp_path, public_url="http://127.0.0.1", secret=b"a secret of tests")
    jobs = JobStore(redis_client, JobSettings(), SEALER)
    return Desk(jobs, objects, ReviewQueue(redis_client, objects, SEALER), redis_client)


APPROVE, BLOCK = Ruling({0: True}), Ruling({0: False}, code="violence", note="a note")


def test_items_come_oldest_first_and_one_at_a_time(desk: Desk) -> None:
    first, second = desk.hold(), desk.hold()

    assert desk.lease("ann").job.id == first.id
    assert desk.lease("ben").job.id == second.id
    assert desk.lease("ann").job.id == first.id  # whoever holds one gets that again
    assert desk.queue.lease("eve", seconds=60) is None
    assert desk.queue.depth()[0] == 2


def test_an_approved_image_lies_with_the_released_ones_when_the_job_succeeds(desk: Desk) -> None:
    job = desk.hold()
    item = desk.lease("ann")

    assert desk.queue.decide(job.id, APPROVE, person="ann", fence=item.fence) is S.SUCCEEDED

    (image,) = desk.get(job).images
    assert (image.decision, image.key) == ("allow", f"outputs/{job.id}/1/0.png")
    assert desk.objects.get(image.key) == b"pixels 0"
    assert desk.queue.depth() == (0, 0.0)
    assert desk.audited(job) == [("ann", "review.leased"), ("ann", "review.decided")]


def test_a_blocked_image_goes_nowhere(desk: Desk) -> None:
    job = desk.hold()
    item = desk.lease("ann")

    assert desk.queue.decide(job.id, BLOCK, person="ann", fence=item.fence) is S.BLOCKED

    ended = desk.get(job)
    assert ended.error is not None
    assert ended.error.code == "image_violence"
    assert [(step.by, step.action, step.code) for step in ended.review] == [("ann", "decided", "violence")]
    assert SEALER.open(ended.review[0].note) == "a note"
    with pytest.raises(ObjectNotFound):
        desk.objects.get(f"outputs/{job.id}/1/0.png")


def test_each_image_has_a_decision_of_its_own(desk: Desk) -> None:
    job = desk.hold("review", "allow", "review")
    item = desk.lease("ann")

    ruling = Ruling({0: False, 2: True}, code="hate")
    assert desk.queue.decide(job.id, ruling, person="ann", fence=item.fence) is S.SUCCEEDED

    assert [image.decision for image in desk.get(job).images] == ["block", "allow", "allow"]


@pytest.mark.parametrize(
    "ruling", [Ruling({}), Ruling({0: True, 1: True}), Ruling({1: True}), Ruling({0: False})], ids=str
)
def test_a_decision_is_whole_and_says_why(desk: Desk, ruling: Ruling) -> None:
    job = desk.hold()
    item = desk.lease("ann")

    with pytest.raises(InvalidParams):
        desk.queue.decide(job.id, ruling, person="ann", fence=item.fence)
    assert desk.get(job).status is S.IN_REVIEW


def test_only_who_holds_the_item_decides_it(desk: Desk) -> None:
    job = desk.hold()
    item = desk.lease("ann")

    with pytest.raises(ReviewTaken):
        desk.lease("ben", job)
    for person, fence in (("ben", item.fence), ("ann", item.fence + 1)):
        with pytest.raises(ReviewLeaseLost):
            desk.queue.decide(job.id, APPROVE, person=person, fence=fence)
    assert desk.get(job).status is S.IN_REVIEW


def test_a_reviewer_who_dies_gives_the_item_back_and_decides_nothing_afterwards(desk: Desk) -> None:
    job = desk.hold()
    late = desk.lease("ann")
    desk.end_lease(job)

    item = desk.lease("ben")

    assert item.fence == late.fence + 1
    with pytest.raises(ReviewLeaseLost):
        desk.queue.decide(job.id, APPROVE, person="ann", fence=late.fence)
    assert desk.queue.decide(job.id, BLOCK, person="ben", fence=item.fence) is S.BLOCKED


def test_a_lease_that_ran_out_decides_nothing_even_when_nobody_else_took_the_item(desk: Desk) -> None:
    job = desk.hold()
    item = desk.lease("ann")
    desk.end_lease(job)

    with pytest.raises(ReviewLeaseLost):
        desk.queue.decide(job.id, APPROVE, person="ann", fence=item.fence)
    assert desk.get(job).status is S.IN_REVIEW


def test_the_same_decision_again_is_the_same_answer(desk: Desk) -> None:
    job = desk.hold()
    item = desk.lease("ann")

    for _ in range(2):
        assert desk.queue.decide(job.id, APPROVE, person="ann", fence=item.fence) is S.SUCCEEDED

    assert [action for _, action in desk.audited(job)].count("review.decided") == 1
    with pytest.raises(ReviewDecided):
        desk.queue.decide(job.id, BLOCK, person="ben", fence=item.fence)


def test_two_reviewers_race_and_each_item_is_decided_once(desk: Desk) -> None:
    jobs = [desk.hold() for _ in range(20)]
    start = threading.Barrier(4)

    def work(person: str) -> int:
        start.wait()
        decided = 0
        while item := desk.queue.lease(person, seconds=60):
            ruling = APPROVE if person < "c" else BLOCK
            desk.queue.decide(item.job.id, ruling, person=person, fence=item.fence)
            decided += 1
        return decided

    with ThreadPoolExecutor(4) as pool:
        decided = sum(pool.map(work, ("ann", "ben", "eve", "ida")))

    assert decided == len(jobs)
    for job in jobs:
        assert [action for _, action in desk.audited(job)] == ["review.leased", "review.decided"]
        assert len(desk.get(job).review) == 1


def test_a_kill_between_copy_and_decision_releases_nothing_and_is_completed_by_the_next_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = desk.hold()
    item = desk.lease("ann")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ReviewQueue, "_run", die)
    with pytest.raises(KeyboardInterrupt):
        desk.queue.decide(job.id, APPROVE, person="ann", fence=item.fence)
    monkeypatch.undo()

    assert desk.get(job).status is S.IN_REVIEW
    assert desk.queue.decide(job.id, APPROVE, person="ann", fence=item.fence) is S.SUCCEEDED


def test_an_image_that_can_not_be_copied_is_not_released(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.hold()
    item = desk.lease("ann")

    def refuse(*_: object) -> None:
        raise ObjectStoreUnavailable

    monkeypatch.setattr(desk.objects, "put", refuse)
    with pytest.raises(ObjectStoreUnavailable):
        desk.queue.decide(job.id, APPROVE, person="ann", fence=item.fence)

    assert desk.get(job).status is S.IN_REVIEW


def test_an_escalated_item_goes_to_somebody_else(desk: Desk) -> None:
    job = desk.hold()
    item = desk.lease("ann")
    desk.queue.escalate(job.id, person="ann", fence=item.fence, code="hate", note="not sure")

    with pytest.raises(ReviewLeaseLost):
        desk.queue.decide(job.id, APPROVE, person="ann", fence=item.fence)
    assert desk.queue.lease("ann", seconds=60) is None
    with pytest.raises(SecondPersonNeeded):
        desk.lease("ann", job)
    other = desk.lease("ben")
    assert other.escalated_by == "ann"
    assert desk.queue.decide(job.id, APPROVE, person="ben", fence=other.fence) is S.SUCCEEDED
    assert [step.action for step in desk.get(job).review] == ["escalated", "decided"]


@pytest.mark.parametrize("leased", [False, True])
def test_what_nobody_decided_in_time_is_denied(desk: Desk, *, leased: bool) -> None:
    job, young = desk.hold(), desk.hold()
    item = desk.lease("ann") if leased else None
    desk.pass_time(job)

    assert desk.queue.expire(after_seconds=3600) == 1

    ended = desk.get(job)
    assert ended.error is not None
    assert (ended.status, ended.error.code) == (S.EXPIRED, "expired_unreviewed")
    assert desk.get(young).status is S.IN_REVIEW
    if item:
        with pytest.raises(ReviewDecided):
            desk.queue.decide(job.id, APPROVE, person="ann", fence=item.fence)
    with pytest.raises(ObjectNotFound):
        desk.objects.get(f"outputs/{job.id}/1/0.png")
    assert desk.audited(job)[-1] == ("reaper", "review.expired")


def test_a_cancelled_item_leaves_the_queue(desk: Desk) -> None:
    job = desk.hold()
    item = desk.lease("ann")
    desk.jobs.cancel(job.id, owner=job.owner)

    assert desk.queue.depth()[0] == 0
    with pytest.raises((ReviewDecided, JobNotFound)):
        desk.queue.decide(job.id, APPROVE, person="ann", fence=item.fence)


def test_a_held_image_is_read_with_its_file_and_a_released_one_is_not(desk: Desk) -> None:
    job = desk.hold("review", "allow")

    image, data = desk.queue.image(job.id, 0)

    assert (image.index, data) == (0, b"pixels 0")
    with pytest.raises(JobNotFound):
        desk.queue.image(job.id, 1)
    for bad in ("x", "job_1", job.id[:-1] + "*"):
        with pytest.raises(JobNotFound):
            desk.queue.read(bad)


def test_minors_are_no_item_of_the_queue_and_nothing_of_the_job_leaves(desk: Desk) -> None:
    job = desk.hold("review", "allow", "review")
    item = desk.lease("ann")
    with pytest.raises(InvalidParams):
        desk.queue.decide(job.id, Ruling({0: False, 2: True}, code="minors"), person="ann", fence=item.fence)
    desk.queue.decide(job.id, Ruling({0: False, 2: False}, code="minors"), person="ann", fence=item.fence)

    assert desk.get(job).status is S.BLOCKED
    assert {image.decision for image in desk.get(job).images} == {"block"}
    assert desk.redis.zrange("darkroom:sealed", 0, -1) == [job.id]
    assert desk.redis.hexists("darkroom:legal_hold", job.id)
    assert desk.queue.depth()[0] == 0
