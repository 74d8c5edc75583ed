"""Compares what callers were promised with what store and object storage hold, and with what workers did.

Knows the faults not at all: the same questions are asked after every one of them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3

from bench.reliability.fleet import BUCKET, Fleet
from bench.reliability.ledger import Ledger, Seen
from bench.reliability.waiting import LOOK_SECONDS
from darkroom.errors import ObjectNotFound
from darkroom.jobs import JobStatus

Record = Mapping[str, str]


@dataclass(frozen=True)
class Verdict:
    """What became of every job."""

    accepted: int
    unknown: int  # calls without an answer
    lost: int  # accepted, and not at an end, or not there
    statuses: Mapping[str, int]
    codes: Mapping[str, int]  # of the failed
    double_commits: int  # jobs that two attempts committed
    executions: int
    re_executions: int
    most_attempts: int
    bad_images: int  # succeeded jobs without readable, hash-equal files
    orphans: int  # stored files that no record names
    drained_seconds: float
    lost_ids: tuple[str, ...] = field(default=(), repr=False)

    @property
    def figures(self) -> dict[str, Any]:
        names = (
            "accepted", "unknown", "lost", "double_commits", "bad_images", "executions", "re_executions",
            "most_attempts", "orphans", "statuses", "codes",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {"drained_seconds": round(self.drained_seconds, 1)}

    @property
    def rules(self) -> dict[str, bool]:
        """What must hold after any fault."""
        return {
            f"{self.lost} accepted jobs are lost": self.lost == 0,
            f"{self.double_commits} jobs are committed twice": self.double_commits == 0,
            f"{self.bad_images} succeeded jobs lack their images": self.bad_images == 0,
        }


def judge(fleet: Fleet, ledger: Ledger, *, drain_seconds: float) -> Verdict:
    """Wait until every accepted job has ended, or until none has for so long, and look at all of them."""
    ids = list(ledger.accepted())
    drained = _drain(fleet, ids, patience=drain_seconds)
    records = read_records(fleet, ids)
    ended = {job for job, record in records.items() if JobStatus(record["status"]).is_terminal}
    attempts = executions(fleet)
    return Verdict(
        accepted=len(ids),
        unknown=sum(call.seen is Seen.UNKNOWN for call in ledger.calls("submit")),
        lost=len(set(ids) - ended),
        statuses=dict(Counter(record["status"] for record in records.values())),
        codes=dict(Counter(code_of(record) for record in records.values() if record["status"] == "failed")),
        double_commits=len(committed_twice(fleet)),
        executions=sum(map(len, attempts.values())),
        re_executions=sum(len(each) - 1 for each in attempts.values()),
        most_attempts=max((int(record["attempt"]) for record in records.values()), default=0),
        bad_images=sum(not images_are_there(fleet, record) for record in records.values()),
        orphans=len(orphans(fleet)),
        drained_seconds=drained,
        lost_ids=tuple(sorted(set(ids) - ended)),
    )


def _drain(fleet: Fleet, ids: list[str], *, patience: float) -> float:
    """Wait while jobs come to their ends; how long that took."""
    began = last = time.monotonic()
    left = len(ids) + 1
    while (now := len(alive(fleet, ids))) and time.monotonic() - last < patience:
        if now < left:
            left, last = now, time.monotonic()
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


def read_records(fleet: Fleet, ids: Iterable[str]) -> dict[str, Record]:
    """The records of these jobs, as far as there are any."""
    ids = list(ids)
    with fleet.redis.pipeline(transaction=False) as pipe:
        for job in ids:
            pipe.hgetall(f"darkroom:job:{job}")
        return {job: record for job, record in zip(ids, pipe.execute(), strict=True) if record}


def every_id(fleet: Fleet) -> list[str]:
    """Ids of all records there are."""
    return [key.rpartition(":")[2] for key in fleet.redis.scan_iter("darkroom:job:*", count=1_000)]


def alive(fleet: Fleet, ids: Iterable[str]) -> list[str]:
    """Those that are there and not at an end."""
    return [job for job, record in read_records(fleet, ids).items() if not JobStatus(record["status"]).is_terminal]


def executions(fleet: Fleet) -> dict[str, set[int]]:
    """The attempts of each job that a worker has claimed."""
    attempts: dict[str, set[int]] = defaultdict(set)
    for seen in fleet.seen():
        if seen.act == "claim":
            attempts[seen.job].add(seen.attempt)
    return attempts


def committed_twice(fleet: Fleet) -> list[str]:
    """Jobs that more than one attempt was told it had committed; the record's own word counts as one more witness."""
    done: dict[str, set[int]] = defaultdict(set)
    for seen in fleet.seen():
        if seen.act == "commit" and seen.answer == "done":
            done[seen.job].add(seen.attempt)
    for job, record in read_records(fleet, done).items():
        if record.get("committed"):
            done[job].add(int(record["committed"]))
    return [job for job, attempts in done.items() if len(attempts) > 1]


def images_are_there(fleet: Fleet, record: Record) -> bool:
    """Whether each file that a succeeded job names can be read and is the one that was made."""
    if record["status"] != "succeeded":
        return True
    images = json.loads(record["images"])
    return bool(images) and all(_is_intact(fleet, image) for image in images)


def stored_keys(fleet: Fleet, prefix: str = "outputs/") -> list[str]:
    """Every key in the object store under a prefix."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{fleet.objects_port}",
        region_name="us-east-1",
        aws_access_key_id="reliability",
        aws_secret_access_key="reliability",  # noqa: S106 - of a server that lives for one check
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def orphans(fleet: Fleet) -> list[str]:
    """Stored images that no record names."""
    keys = stored_keys(fleet)
    records = read_records(fleet, {key.split("/")[1] for key in keys})
    named = {image["key"] for record in records.values() for image in json.loads(record["images"])}
    return [key for key in keys if key not in named and not key.endswith("record.json")]


def code_of(record: Record) -> str:
    error = record.get("error")
    return str(json.loads(error)["code"]) if error else ""


def _is_intact(fleet: Fleet, image: Mapping[str, Any]) -> bool:
    try:
        data = fleet.objects.get(image["key"])
    except ObjectNotFound:
        return False
    return hashlib.sha256(data).hexdigest() == str(image["sha256"])
