"""Appeals: an owner says that a refusal was wrong, and somebody else than who refused decides.

What the service itself refused takes two people to grant. A granted appeal leaves the old job as it is and makes a new
one with the same recipe, for which the findings of that refusal decide nothing; who makes it asks `unmade` until it is.
Texts are sealed, and live as long as their job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import redis

from darkroom.errors import AppealNotPossible, JobNotFound, ReviewDecided, SecondPersonNeeded
from darkroom.job_ids import is_job_id, new_job_id
from darkroom.jobs import Job, JobStatus
from darkroom.judgements import MINORS, Waived, grounds_of
from darkroom.lua_scripts import run_script
from darkroom.redis_client import redis_errors
from darkroom.review import UNREVIEWED
from darkroom.sealing import Sealer

OPEN = "darkroom:appeals"
UNMADE = "darkroom:unmade"
Decision = Literal["granted", "denied"]
_REFUSALS = {"missing": JobNotFound, "ended": ReviewDecided, "second": SecondPersonNeeded}


@dataclass(frozen=True)
class Appeal:
    """One appeal. Times are Unix seconds by Redis' clock."""

    job_id: str
    owner: str
    state: str  # open, granted, denied
    at: float
    reason: str  # the code that the job was refused with
    refused_by: str | None  # a person, or None for the service itself
    text: str = field(repr=False)
    granted_by: str | None = None  # who proposed to grant it, where that takes two
    by: str | None = None
    decided_at: float | None = None
    answer: str = field(default="", repr=False)
    new_job: str | None = None


def depth(client: redis.Redis) -> int:
    """How many appeals wait for a decision."""
    with redis_errors():
        return int(client.zcard(OPEN))


class Appeals:
    """Files, lists and decides appeals, for threads."""

    def __init__(self, client: redis.Redis, sealer: Sealer) -> None:
        self._redis = client
        self._sealer = sealer

    def file(self, job: Job, text: str) -> Appeal:
        """The owner's appeal; the one there is already, if there is.

        Raises:
            AppealNotPossible: nothing of the job was refused.
        """
        if not may_be_appealed(job):
            raise AppealNotPossible
        reason = job.error.code if job.error else ""
        sealed = self._sealer.seal(text)
        args = (job.id, job.owner, sealed, decided_by(job) or "", job.status.value, reason)
        if run_script(self._redis, "appeal_file", *args) == "missing":
            raise JobNotFound
        return self.get(job.id)

    def get(self, job_id: str) -> Appeal:
        """The job's appeal, or JobNotFound."""
        with redis_errors():
            found: Any = self._redis.hgetall(f"darkroom:appeal:{_known_shape(job_id)}")
        if not found:
            raise JobNotFound
        return self._appeal(job_id, found)

    def open(self, limit: int, *, sealed: bool) -> list[Appeal]:
        """The oldest that wait; those against the rule on minors only where `sealed` ones may be seen."""
        with redis_errors():
            ids: Any = self._redis.zrange(OPEN, 0, limit - 1)
        found = [self.get(str(job_id)) for job_id in ids]
        return [appeal for appeal in found if sealed or not _names_the_rule(appeal.reason)]

    def depth(self) -> int:
        return depth(self._redis)

    def decide(self, job: Job, decision: Decision, *, person: str, answer: str) -> Appeal:
        """Decide, or second what another person proposed; the appeal is still open where a second one is needed.

        Raises:
            AppealNotPossible: the rule that refused it knows no exception.
            ReviewDecided: it is decided already.
            SecondPersonNeeded: the person refused the job.
        """
        if decision == "granted" and is_final(job):
            raise AppealNotPossible("The rule on minors knows no exception: no appeal against it can be granted.")
        needed = 1 if decided_by(job) or job.status is JobStatus.EXPIRED else 2
        details = json.dumps({"decision": decision, "waived": waived_by(job) if decision == "granted" else []})
        sealed = self._sealer.seal(answer)
        outcome, _ = run_script(
            self._redis, "appeal_decide", job.id, person, decision, sealed, new_job_id(), needed, details
        )
        if outcome in _REFUSALS:
            raise _REFUSALS[outcome]
        return self.get(job.id)

    def unmade(self) -> list[str]:
        """Jobs whose appeal was granted and whose successor may not be stored yet."""
        with redis_errors():
            ids: Any = self._redis.zrange(UNMADE, 0, -1)
        return [str(job_id) for job_id in ids]

    def made(self, job_id: str) -> None:
        """The successor is stored."""
        with redis_errors():
            self._redis.zrem(UNMADE, job_id)

    def _appeal(self, job_id: str, found: Mapping[str, str]) -> Appeal:
        decided = found.get("decided_at")
        return Appeal(
            job_id=job_id,
            owner=found["owner"],
            state=found["state"],
            at=float(found["at"]),
            reason=found["reason"],
            refused_by=found["refused_by"] or None,
            text=self._sealer.open(found["text"]),
            granted_by=found.get("granted_by"),
            by=found.get("by"),
            decided_at=float(decided) if decided else None,
            answer=self._sealer.open(found["answer"]) if found.get("answer") else "",
            new_job=found.get("new_job") or None,
        )


def may_be_appealed(job: Job) -> bool:
    """Whether something of the job was refused: by a check, by a person, or by nobody's having looked."""
    unreviewed = job.status is JobStatus.EXPIRED and job.error is not None and job.error.code == UNREVIEWED.code
    return job.status is JobStatus.BLOCKED or unreviewed


def is_final(job: Job) -> bool:
    """Whether the rule on minors refused it."""
    return job.error is not None and _names_the_rule(job.error.code)


def decided_by(job: Job) -> str | None:
    """The person who refused the job; None for the service itself."""
    return next((step.by for step in reversed(job.review) if step.action == "decided"), None)


def waived_by(job: Job) -> tuple[Waived, ...]:
    """The findings that a granted appeal sets aside."""
    return tuple(dict.fromkeys((*job.waived, *grounds_of(job.findings))))


def _names_the_rule(code: str) -> bool:
    return code.endswith(f"_{MINORS}")


def _known_shape(job_id: str) -> str:
    if not is_job_id(job_id):
        raise JobNotFound
    return job_id
