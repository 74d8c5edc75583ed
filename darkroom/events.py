"""What happened to a job, event by event, for those who listen. The job scripts write it in the step of the change.

A job's stream holds what happened since it first ran, bounded, and goes some minutes after its end; what came before,
and the end itself, follow from the record. So whoever reads the record first, then the stream, misses no end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio

from darkroom.jobs import Job, JobStatus
from darkroom.redis_client import redis_errors

FEED = "darkroom:feed"
FEED_PAGE = 1_000
BEGINNING, QUEUED, UNRUN_END = "0-0", "0-1", "0-2"  # places before those of the stream; the last also in events.lua
_PLACE = re.compile(r"\d{1,15}-\d{1,15}", re.ASCII)


@dataclass(frozen=True)
class JobEvent:
    """One thing that happened to a job."""

    place: str  # in the job's story: greater for what came later, by `order`
    job: str
    name: str  # queued, started, progress, requeued, in_review, or the status it ended with
    status: JobStatus  # afterwards
    time: float
    attempt: int
    step: int | None = None  # of `steps`, only with progress
    steps: int | None = None
    code: str | None = None  # why it ended


def is_place(text: str) -> bool:
    return _PLACE.fullmatch(text) is not None


def order(place: str) -> tuple[int, int]:
    """What places are compared by."""
    millisecond, _, number = place.partition("-")
    return int(millisecond), int(number)


def story(job: Job, stream: Sequence[JobEvent]) -> list[JobEvent]:
    """All that is known of the job, in order. The stream must have been read after the record."""
    events = [*_beginning(job), *stream]
    if job.status.is_terminal and not (stream and stream[-1].status.is_terminal):
        events.append(_end(job))
    return events


class EventLog:
    """Reads events, on an event loop."""

    def __init__(self, client: redis.asyncio.Redis, *, block_seconds: float = 0.5) -> None:
        """Each wait for news lasts `block_seconds` at most; it must stay under the client's time-out."""
        self._redis = client
        self._block = int(block_seconds * 1000)

    async def of_job(self, job_id: str) -> list[JobEvent]:
        """The job's stream; empty for one that never ran, or ended a while ago."""
        with redis_errors():
            entries = await self._redis.xrange(f"darkroom:events:{job_id}")
        return [_read(place, job_id, fields) for place, fields in _pairs(entries)]

    async def feed_end(self) -> str:
        """Where the feed of all jobs ends now."""
        with redis_errors():
            entries = await self._redis.xrevrange(FEED, count=1)
        return next((place for place, _ in _pairs(entries)), BEGINNING)

    async def news(self, after: str) -> tuple[str, list[JobEvent]]:
        """What was added to the feed, after waiting for it a while; also the place to go on from."""
        with redis_errors():
            answer: Any = await self._redis.xread({FEED: after}, count=FEED_PAGE, block=self._block)
        entries = [entry for _, page in _streams(answer) for entry in _pairs(page)]
        events = [_read(fields["place"], fields["job"], fields) for _, fields in entries]
        return (entries[-1][0] if entries else after), events


def _beginning(job: Job) -> list[JobEvent]:
    if job.status is JobStatus.BLOCKED and job.attempt == 0:
        return []  # refused at once, it was never queued
    return [JobEvent(QUEUED, job.id, JobStatus.QUEUED.value, JobStatus.QUEUED, job.created_at, attempt=0)]


def _end(job: Job) -> JobEvent:
    """The end of a job whose stream is gone, or that never had one."""
    finished = job.finished_at or job.created_at
    return JobEvent(
        place=f"{int(finished * 1000)}-0" if job.attempt else UNRUN_END,
        job=job.id,
        name=job.status.value,
        status=job.status,
        time=finished,
        attempt=job.attempt,
        code=job.error.code if job.error else None,
    )


def _read(place: str, job_id: str, fields: Mapping[str, str]) -> JobEvent:
    return JobEvent(
        place=place,
        job=job_id,
        name=fields["event"],
        status=JobStatus(fields["status"]),
        time=float(fields["time"]),
        attempt=int(fields["attempt"]),
        step=int(fields["step"]) if "step" in fields else None,
        steps=int(fields["steps"]) if "steps" in fields else None,
        code=fields.get("code"),
    )


def _pairs(entries: Any) -> list[tuple[str, Mapping[str, str]]]:
    return cast("list[tuple[str, Mapping[str, str]]]", entries or [])


def _streams(answer: Any) -> Any:
    """The library gives pairs over the older protocol and a mapping over the newer one."""
    return answer.items() if isinstance(answer, Mapping) else answer or []
