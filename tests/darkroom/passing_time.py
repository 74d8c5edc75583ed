"""Lets time pass for one job in Redis: its lease, deadline, not-before or retention time moves to the past.

Scripts read the server's clock, which no test can set; so the job's own times are set instead, in the record and in
the index, exactly as if they had been written long ago.
"""

from __future__ import annotations

import redis

from darkroom.jobs import Job


def end_lease(client: redis.Redis, job: Job) -> None:
    client.hset(f"darkroom:job:{job.id}", "lease_until", "1")
    client.zadd(f"darkroom:leases:{job.tier}", {job.id: 1}, xx=True)


def pass_deadline(client: redis.Redis, job: Job) -> None:
    client.hset(f"darkroom:job:{job.id}", "deadline_at", "1")
    client.zadd("darkroom:deadlines", {job.id: 1}, xx=True)


def pass_not_before(client: redis.Redis, job: Job) -> None:
    client.hset(f"darkroom:job:{job.id}", "not_before", "1")
    client.zadd(f"darkroom:delayed:{job.tier}", {job.id: 1}, xx=True)


def pass_retention(client: redis.Redis, job: Job) -> None:
    client.zadd("darkroom:expiring", {job.id: 1}, xx=True)


def pass_stay(client: redis.Redis, job: Job) -> None:
    """The time that the record of an ended job stays in Redis."""
    client.zadd("darkroom:ended", {job.id: 1}, xx=True)


def pass_sweep_time(client: redis.Redis, job: Job) -> None:
    client.zadd("darkroom:unswept", {job.id: 1}, xx=True)
