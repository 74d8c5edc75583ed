"""What operators do with single jobs of any owner: find, look, cancel, give back to the queue, read the prompt.

Everything but looking is in the audit log. Texts stay sealed unless somebody asks for them by name and with a reason;
those of the sealed list are never shown here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from darkroom.audit import AuditLog
from darkroom.errors import JobGone, JobNotFound, JobNotRequeueable, NotPermitted
from darkroom.job_record import decode_job
from darkroom.job_store import JobStore
from darkroom.jobs import JobStatus, Texts, Tier
from darkroom.legal_hold import SEALED
from darkroom.lua_scripts import run_script
from darkroom.object_store import ObjectStore
from darkroom.redis_client import redis_errors
from darkroom.sealing import Sealer
from darkroom.settings import JobSettings
from darkroom.whole_record import whole_record

MOST_LOOKS = 10_000  # jobs that one list reads
_PAGE = 200
_LIVE: Mapping[JobStatus, tuple[str, ...]] = {
    JobStatus.QUEUED: tuple(f"darkroom:{line}:{tier}" for tier in Tier for line in ("ready", "delayed", "suspects")),
    JobStatus.RUNNING: tuple(f"darkroom:leases:{tier}" for tier in Tier),
    JobStatus.IN_REVIEW: ("darkroom:review",),
}
_ENDED = ("darkroom:ended",)
_FIELDS = (
    "id", "owner", "status", "tier", "model", "shape", "priority", "attempt", "transient", "lost", "strikes", "worker",
    "step", "steps", "created_at", "started_at", "finished_at", "deadline_at", "not_before", "lease_until",
    "cancel_requested", "suspect", "shadow", "policy", "held", "error",
)  # fmt: skip
_NUMBERS = frozenset({"priority", "attempt", "transient", "lost", "strikes", "step", "steps"})
_TIMES = frozenset({"created_at", "started_at", "finished_at", "deadline_at", "not_before", "lease_until"})
_FLAGS = frozenset({"cancel_requested", "suspect", "shadow"})


@dataclass(frozen=True)
class Filter:
    """Which jobs a list shows."""

    status: JobStatus | None = None
    owner: str | None = None
    tier: Tier | None = None
    model: str | None = None

    def passes(self, line: Mapping[str, Any]) -> bool:
        asked = {"status": self.status, "owner": self.owner, "tier": self.tier, "model": self.model}
        return all(value is None or line.get(name) == value for name, value in asked.items())


def list_jobs(client: redis.Redis, asked: Filter, *, limit: int) -> list[dict[str, Any]]:
    """Jobs that pass, those of one index newest first; records in the archive are not listed."""
    lines = itertools.chain.from_iterable(_lines(client, index) for index in _indexes(asked))
    passed = (line for line in itertools.islice(lines, MOST_LOOKS) if asked.passes(line))
    return list(itertools.islice(passed, limit))


class JobDesk:
    """One operator's way to the jobs, for threads."""

    def __init__(self, client: redis.Redis, objects: ObjectStore, sealer: Sealer) -> None:
        self._redis = client
        self._objects = objects
        self._sealer = sealer
        self._audit = AuditLog(client)

    def show(self, job_id: str) -> dict[str, Any]:
        """What the record says of the job, without its texts, wherever the record lies.

        Raises:
            JobNotFound, JobGone: there is none, or none any more.
        """
        return _line(whole_record(self._redis, self._objects, job_id))

    def read_texts(self, job_id: str, *, person: str, reason: str) -> Texts:
        """The prompts; that they were read stands in the audit log before they are.

        Raises:
            NotPermitted: the job is on the sealed list.
        """
        record = whole_record(self._redis, self._objects, job_id)
        with redis_errors():
            if self._redis.zscore(SEALED, job_id) is not None:
                raise NotPermitted("This job is on the sealed list: only its named role may see its texts.")
        self._audit.append(person, "job.prompt_read", job_id, {"reason": reason})
        params = decode_job(record, self._sealer).params
        return Texts(params.prompt, params.negative_prompt)

    def cancel(self, job_id: str, *, person: str) -> JobStatus:
        """Cancel a waiting job, ask a running one's worker to stop; its status afterwards.

        Raises:
            JobNotCancellable: when it has ended otherwise.
        """
        owner = str(whole_record(self._redis, self._objects, job_id)["owner"])
        job = JobStore(self._redis, JobSettings.from_env(), self._sealer).cancel(job_id, owner=owner)
        self._audit.append(person, "job.cancelled", job_id)
        return job.status

    def requeue(self, job_id: str, *, person: str) -> JobStatus:
        """Take a running job from its worker, or let a waiting one be claimed at once; its status afterwards.

        Raises:
            JobNotRequeueable: it has ended, or waits for a person.
        """
        attempt = whole_record(self._redis, self._objects, job_id)["attempt"]
        outcome, status = run_script(self._redis, "requeue", job_id, attempt)
        if outcome == "ended":
            raise JobNotRequeueable
        if outcome != "ok":
            raise JobGone if outcome == "gone" else JobNotFound
        self._audit.append(person, "job.requeued", job_id, {"attempt": int(attempt)})
        return JobStatus(status)


def _indexes(asked: Filter) -> tuple[str, ...]:
    if asked.owner is not None:
        return (f"darkroom:owner:{asked.owner}",)
    if asked.status is None:
        return (*itertools.chain(*_LIVE.values()), *_ENDED)
    return _LIVE.get(asked.status, _ENDED)


def _lines(client: redis.Redis, index: str) -> Iterator[dict[str, Any]]:
    for start in itertools.count(0, _PAGE):
        with redis_errors():
            ids: Any = client.zrange(index, start, start + _PAGE - 1, desc=True)
            with client.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hmget(f"darkroom:job:{job_id}", _FIELDS)
                rows = pipe.execute() if ids else []
        for row in rows:
            if row[0] is not None:  # else archived, or removed meanwhile
                yield _line(dict(zip(_FIELDS, row, strict=True)))
        if len(ids) < _PAGE:
            return


def _line(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record's plain facts; a field that says nothing is left out."""
    found = {name: _value(name, str(record[name])) for name in _FIELDS if record.get(name)}
    return {name: value for name, value in found.items() if value is not False}


def _value(name: str, text: str) -> Any:
    if name in _NUMBERS:
        return int(text)
    if name in _TIMES:
        return float(text)
    if name in _FLAGS:
        return text == "1"
    return json.loads(text)["code"] if name == "error" else text
