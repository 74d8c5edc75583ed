"""What the job store is asked and what it answers, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from darkroom.jobs import Job


@dataclass(frozen=True)
class IdempotencyKey:
    """A caller's Idempotency-Key, and a digest of the body it came with."""

    key: str
    fingerprint: str


@dataclass(frozen=True)
class Submitted:
    """A stored job; `replayed` when an earlier call with the same Idempotency-Key had stored it."""

    job: Job
    replayed: bool
    queue_position: int | None  # 1 is next; None unless queued


@dataclass(frozen=True)
class Page:
    """A part of a list, newest first. It may be short and still have a next one."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Listed:
    """A page as the script gives it: of archived jobs it knows the ids alone."""

    rows: tuple[Job | str, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class QueueState:
    """Where a queued job stands. The estimates come from runs that ended lately; None before there were any."""

    position: int  # 1 is next
    running: int  # jobs of the tier that run now
    eta_seconds: float | None  # until the images are done


@dataclass(frozen=True)
class Quote:
    """What a job would take, by what those of its model took lately; None before there were any."""

    device_seconds: float | None  # its share of a device
    run_seconds: float | None  # from claim to commit


class TierCounts(NamedTuple):
    """The jobs of one tier."""

    queued: int
    running: int
    oldest_seconds: float  # age of the first in line


@dataclass(frozen=True)
class Claim:
    """A job in a worker's hands. `attempt` is the fencing token."""

    job: Job
    attempt: int
    worker: str
    alone: bool = False  # a suspect, and all that this worker has in hand


class Lease(StrEnum):
    """What a heartbeat learns about a claim."""

    KEPT = "kept"  #: the lease was prolonged
    CANCELLED = "cancelled"  #: the caller wants the job stopped; the lease was prolonged all the same
    LOST = "lost"  #: the job is somebody else's, or has ended


class Committed(StrEnum):
    """What became of a commit. Only DONE keeps the images; the worker deletes its objects after any other answer."""

    DONE = "done"  #: the result is in the record
    CANCELLED = "cancelled"  #: the caller had cancelled the job
    EXPIRED = "expired"  #: the deadline had passed
    LOST = "lost"  #: the job is somebody else's, or has ended


class Filed(StrEnum):
    """What the record of a job says of an attempt's files."""

    NAMED = "named"  #: the attempt runs, or the record shows its files
    STRAY = "stray"  #: the record shows others, or none
    UNKNOWN = "unknown"  #: there is no such record


@dataclass(frozen=True)
class Reaped:
    """What one round of the reaper did, in jobs."""

    requeued: int = 0  # lease ran out
    failed: int = 0  # too many attempts lost
    cancelled: int = 0  # lease ran out or deadline passed after a cancel
    expired: int = 0  # deadline passed
    ready: int = 0  # not-before time came


@dataclass(frozen=True)
class Tidied:
    """What one portion of retention did, in jobs."""

    removed: int = 0  # kept long enough
    swept: int = 0  # their files are gone, too
    archived: int = 0  # record moved beside the images
