"""A job's record as it is stored, from Redis or from beside its images; texts in it stay sealed. For threads."""

from __future__ import annotations

import json
from typing import Any

import redis

from darkroom.errors import JobGone, JobNotFound, ObjectNotFound
from darkroom.job_ids import is_job_id
from darkroom.object_store import ObjectStore, record_key
from darkroom.redis_client import redis_errors


def whole_record(client: redis.Redis, objects: ObjectStore, job_id: str) -> dict[str, str]:
    """Whoever the owner is.

    Raises:
        JobNotFound: there is no such job.
        JobGone: it was deleted, or its time has passed.
    """
    if not is_job_id(job_id):
        raise JobNotFound
    with redis_errors():
        record: Any = client.hgetall(f"darkroom:job:{job_id}")
        if record:
            return dict(record)
        gone = client.exists(f"darkroom:gone:{job_id}")
    try:
        return dict(json.loads(objects.get(record_key(job_id))))
    except ObjectNotFound:
        raise JobGone if gone else JobNotFound from None
