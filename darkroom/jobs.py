"""A job and the states it passes through: the state machine, pure, no I/O.

`TRANSITIONS` is the whole truth about which change is legal; the Lua scripts in `lua/` carry the same changes out
atomically, and a test holds the two against each other. Nothing here knows Redis, HTTP or the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from darkroom.costs import NO_COST, Cost, Price
from darkroom.judgements import Judgement, Waived
from darkroom.params import GenerationParams, WebhookChoice

SCHEMA = 4  # of the record in Redis; a worker leaves records with a higher number in the queue


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  #: accepted, waiting for a worker
    RUNNING = "running"  #: claimed under a lease
    IN_REVIEW = "in_review"  #: images held for a person
    SUCCEEDED = "succeeded"  #: at least one image is released
    FAILED = "failed"  #: could not be carried out; `error.code` says why
    BLOCKED = "blocked"  #: refused by safety; `error.code` is the reason code
    CANCELLED = "cancelled"  #: stopped at the caller's wish
    EXPIRED = "expired"  #: a deadline passed

    @property
    def is_terminal(self) -> bool:
        return not TRANSITIONS[self]


_S = JobStatus
TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED, _S.EXPIRED, _S.FAILED, _S.BLOCKED}),
    _S.RUNNING: frozenset(
        {_S.SUCCEEDED, _S.IN_REVIEW, _S.BLOCKED, _S.FAILED, _S.CANCELLED, _S.EXPIRED, _S.QUEUED},
    ),
    _S.IN_REVIEW: frozenset({_S.SUCCEEDED, _S.BLOCKED, _S.CANCELLED, _S.EXPIRED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.BLOCKED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
}
BORN = frozenset({_S.QUEUED, _S.BLOCKED})  # the states a new record may start in


class Tier(StrEnum):
    """A fair queue and its pool of workers."""

    PREVIEW = "preview"  #: quick looks, few steps
    STANDARD = "standard"  #: the default
    QUALITY = "quality"  #: many steps, no hurry


@dataclass(frozen=True)
class JobError:
    """Why a job failed, expired or was blocked: a stable code for programs, a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True)
class ImageRecord:
    """One finished image of a job and where it lies. `decision` is its own safety verdict."""

    index: int
    key: str  # object key
    seed: int
    width: int
    height: int
    content_type: str
    bytes: int
    sha256: str  # of the stored file, hex
    decision: str = "allow"
    pixels_sha256: str = ""  # of the pixels before they were marked; empty in older records
    looks: str = ""  # perceptual hash, hex; empty in older records and of flat pictures


@dataclass(frozen=True)
class ReviewStep:
    """One deed of a reviewer, or of the clock."""

    at: float
    by: str  # a person
    action: str  # decided, escalated, expired
    code: str | None = None  # the category that the reviewer named
    note: str = field(default="", repr=False)  # sealed


@dataclass(frozen=True)
class Texts:
    """What steers a picture in words."""

    prompt: str = field(repr=False)
    negative_prompt: str = field(default="", repr=False)


@dataclass(frozen=True)
class Progress:
    """How far a running job is, in denoising steps over all its images."""

    step: int = 0
    steps: int = 0


@dataclass(frozen=True)
class Job:
    """One asynchronous request and its life. Times are UTC seconds by Redis' clock."""

    id: str
    owner: str
    status: JobStatus
    tier: Tier
    params: GenerationParams
    created_at: float
    attempt: int = 0  # runs so far; the number of the current one is its fencing token
    started_at: float | None = None
    finished_at: float | None = None
    deadline_at: float | None = None
    progress: Progress = Progress()
    images: tuple[ImageRecord, ...] = ()
    error: JobError | None = None
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    policy: str | None = None  # name@version of the policy that judged the prompt
    held: str | None = None  # why every image must wait for a person: the reason code of the prompt's verdict
    cancel_requested: bool = False
    priority: int = 0  # higher goes first, among the owner's own jobs
    webhook: WebhookChoice | None = None  # of its own, besides its owner's endpoints
    key: str | None = None  # id of the API key that submitted it
    original: Texts | None = None  # what the caller wrote, where safety changed it; for reviewers alone
    findings: tuple[Judgement, ...] = ()  # what safety decided, and on which scores
    review: tuple[ReviewStep, ...] = ()  # what reviewers did
    appeal_of: str | None = None  # the refused job that this one makes up for
    waived: tuple[Waived, ...] = ()  # findings that decide nothing in this job
    withheld: tuple[int, ...] = ()  # images taken down after their release
    route: str | None = None  # alias and version that led to the recipe's model, where an alias was asked for
    shadow: bool = False  # repeats another job on another model; nobody sees what it makes
    rating: int | None = None  # its owner's, from 1 to 5
    request_id: str = ""  # of the request that made it, for logs
    traceparent: str = ""  # of the trace that it belongs to (W3C); empty where nothing is traced
    price: Price | None = None  # of a device second, as it was when the job was taken
    cost: Cost = NO_COST
    region: str = ""  # where it was accepted and runs; empty where regions have no names
    schema: int = SCHEMA

    @property
    def rewritten(self) -> bool:
        """Whether safety changed the prompt."""
        return self.original is not None
