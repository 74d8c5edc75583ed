"""The review queue: jobs whose images wait for a person, oldest first, each in one pair of hands at a time.

A lease carries a fence, as a job's claim does: whoever was too slow decides nothing. An approved image is copied to
where released ones lie before the record says so; nothing that stops in between releases anything, and the same call
again completes it. An item that nobody decides is denied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis

from darkroom.errors import (
    FieldProblem,
    InvalidParams,
    JobNotFound,
    ReviewDecided,
    ReviewLeaseLost,
    ReviewTaken,
    SecondPersonNeeded,
)
from darkroom.job_ids import is_job_id
from darkroom.job_record import decode_job, encode_error, encode_images, read_flat
from darkroom.jobs import ImageRecord, Job, JobError, JobStatus
from darkroom.judgements import MINORS
from darkroom.lua_scripts import run_script
from darkroom.object_store import ObjectStore, released_key
from darkroom.redis_client import redis_errors
from darkroom.sealing import Sealer

REVIEW = "darkroom:review"
ALLOW, BLOCK, HELD = "allow", "block", "review"
EXPIRE_LIMIT = 500  # items one call may expire; more wait for the next
UNREVIEWED = JobError("expired_unreviewed", "Nobody reviewed the job's images in time, so none is released.")
_REFUSALS = {
    "missing": JobNotFound,
    "taken": ReviewTaken,
    "ended": ReviewDecided,
    "lost": ReviewLeaseLost,
    "second": SecondPersonNeeded,
}


@dataclass(frozen=True)
class Item:
    """A job in review and who has it in hand. Times are Unix seconds by Redis' clock."""

    job: Job
    entered_at: float
    by: str | None = None
    until: float = 0.0
    fence: int = 0
    escalated_by: str | None = None

    @property
    def held(self) -> tuple[ImageRecord, ...]:
        """The images that wait for a decision."""
        return tuple(image for image in self.job.images if image.decision == HELD)


@dataclass(frozen=True)
class Ruling:
    """What a reviewer decided about one item."""

    approved: Mapping[int, bool]  # of each held image, by index
    code: str | None = None  # the category of what is blocked
    note: str = ""


def depth(client: redis.Redis) -> tuple[int, float]:
    """How many items wait, and since when the oldest does (0 without one)."""
    with redis_errors():
        first: Any = client.zrange(REVIEW, 0, 0, withscores=True)
        return int(client.zcard(REVIEW)), float(first[0][1]) if first else 0.0


class ReviewQueue:
    """The queue, for threads."""

    def __init__(self, client: redis.Redis, objects: ObjectStore, sealer: Sealer) -> None:
        self._redis = client
        self._objects = objects
        self._sealer = sealer

    def lease(self, person: str, *, seconds: float, job_id: str | None = None) -> Item | None:
        """The item that the person holds already, else the oldest that is free for them; None where there is none.

        Raises:
            JobNotFound: the one that is wanted is not in review.
            ReviewTaken: somebody else has it in hand.
            SecondPersonNeeded: the person escalated it.
        """
        outcome, flat = run_script(self._redis, "review_lease", person, seconds, _known_shape(job_id))
        if outcome == "none":
            return None
        _raise_refusal(outcome)
        return self._item(read_flat(flat))

    def read(self, job_id: str) -> Item:
        """An item of the queue, in whoever's hands it is."""
        with redis_errors():
            record: Any = self._redis.hgetall(f"darkroom:job:{_known_shape(job_id)}")
        if not record or record["status"] != JobStatus.IN_REVIEW:
            raise JobNotFound
        return self._item(record)

    def oldest(self, limit: int) -> list[Item]:
        """The first items of the queue."""
        with redis_errors():
            ids: Any = self._redis.zrange(REVIEW, 0, limit - 1)
            with self._redis.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hgetall(f"darkroom:job:{job_id}")
                records = pipe.execute()
        return [self._item(record) for record in records if record.get("status") == JobStatus.IN_REVIEW]

    def depth(self) -> tuple[int, float]:
        """How many items wait, and since when the oldest does (0 without one)."""
        return depth(self._redis)

    def entered_at(self, job_id: str) -> float | None:
        """Since when the item waits; None for one that does not."""
        with redis_errors():
            entered = self._redis.zscore(REVIEW, job_id)
        return None if entered is None else float(entered)

    def image(self, job_id: str, index: int) -> tuple[ImageRecord, bytes]:
        """A held image and its file."""
        image = next((image for image in self.read(job_id).held if image.index == index), None)
        if image is None:
            raise JobNotFound
        return image, self._objects.get(image.key)

    def decide(self, job_id: str, ruling: Ruling, *, person: str, fence: int) -> JobStatus:
        """End the item: what is approved is released, what is not is blocked. Gives the status the job ends with.

        Raises:
            InvalidParams: not each held image has a decision, or nothing says why one is blocked.
            ReviewLeaseLost, ReviewDecided, SecondPersonNeeded: the person may not decide this now.
        """
        with redis_errors():
            record: Any = self._redis.hgetall(f"darkroom:job:{_known_shape(job_id)}")
        if not record:
            raise JobNotFound
        if record.get("review_done") == f"{fence}:{person}":  # said before; the answer was lost
            return JobStatus(record["status"])
        if record["status"] != JobStatus.IN_REVIEW:
            raise ReviewDecided
        item = self._item(record)
        _require_whole(ruling, item)
        if (item.by, item.fence) != (person, fence):
            raise ReviewLeaseLost
        images = [self._ruled(image, ruling) for image in item.job.images]
        if ruling.code == MINORS:  # then images that had passed don't leave either
            images = [replace(image, decision=BLOCK) for image in images]
        released = any(image.decision == ALLOW for image in images)
        status = JobStatus.SUCCEEDED if released else JobStatus.BLOCKED
        error = (
            None if released else JobError(f"image_{ruling.code}", "A person reviewed the images and released none.")
        )
        self._run(
            "review_decide",
            job_id,
            person,
            fence,
            status,
            encode_images(images),
            encode_error(error),
            ruling.code or "",
            self._sealer.seal(ruling.note) if ruling.note else "",
            json.dumps(_details(item, ruling, status)),
        )
        return status

    def escalate(self, job_id: str, *, person: str, fence: int, code: str | None, note: str) -> None:
        """Leave the item to somebody else; the person can't take it again."""
        self._run(
            "review_escalate",
            _known_shape(job_id),
            person,
            fence,
            code or "",
            self._sealer.seal(note) if note else "",
            json.dumps({"code": code, "fence": fence}),
        )

    def expire(self, *, after_seconds: float) -> int:
        """Deny what nobody decided in time; gives how many items that were."""
        args = (after_seconds, EXPIRE_LIMIT, encode_error(UNREVIEWED))
        return int(run_script(self._redis, "review_expire", *args))

    def _ruled(self, image: ImageRecord, ruling: Ruling) -> ImageRecord:
        """The image with its decision; an approved one's file is where released files lie when this returns."""
        if image.index not in ruling.approved:
            return image
        if not ruling.approved[image.index]:
            return replace(image, decision=BLOCK)
        key = released_key(image.key)
        if key != image.key:
            self._objects.put(key, self._objects.get(image.key), image.content_type)
        return replace(image, decision=ALLOW, key=key)

    def _run(self, name: str, *args: str | float) -> None:
        _raise_refusal(run_script(self._redis, name, *args))

    def _item(self, record: Mapping[Any, Any]) -> Item:
        job = decode_job(record, self._sealer)
        return Item(
            job=job,
            entered_at=self.entered_at(job.id) or 0.0,
            by=record.get("review_by"),
            until=float(record.get("review_until") or 0),
            fence=int(record.get("review_fence") or 0),
            escalated_by=record.get("review_escalated_by"),
        )


def _require_whole(ruling: Ruling, item: Item) -> None:
    held: Sequence[int] = sorted(image.index for image in item.held)
    if sorted(ruling.approved) != held:
        numbers = ", ".join(map(str, held))
        raise InvalidParams([FieldProblem("images", f"must have one decision for each held image: {numbers}")])
    if not all(ruling.approved.values()) and not ruling.code:
        raise InvalidParams([FieldProblem("code", "must name the category of what is blocked")])
    if ruling.code == MINORS and any(ruling.approved.values()):
        raise InvalidParams([FieldProblem("images", "must all be blocked where one of them is about minors")])


def _details(item: Item, ruling: Ruling, status: JobStatus) -> Mapping[str, object]:
    """What the audit log keeps: no text, but on which scores and under which policy it was decided."""
    return {
        "status": status,
        "code": ruling.code,
        "approved": sorted(index for index, approved in ruling.approved.items() if approved),
        "blocked": sorted(index for index, approved in ruling.approved.items() if not approved),
        "before": {str(image.index): image.sha256 for image in item.held},
        "policy": item.job.policy,
        "scores": [[found.stage, found.index, *score] for found in item.job.findings for score in found.scores],
        "fence": item.fence,
    }


def _raise_refusal(outcome: str) -> None:
    if outcome in _REFUSALS:
        raise _REFUSALS[outcome]


def _known_shape(job_id: str | None) -> str:
    if job_id is None:
        return ""
    if not is_job_id(job_id):
        raise JobNotFound
    return job_id
