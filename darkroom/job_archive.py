"""Records of ended jobs that left Redis: one `record.json` beside the job's images, prompts sealed as before.

Whose it is and how long it is kept, Redis still knows; here lies only what the owner may read again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from darkroom.errors import JobNotFound, ObjectNotFound
from darkroom.job_record import decode_job
from darkroom.jobs import Job, JobStatus
from darkroom.object_store import ObjectStore, record_key
from darkroom.sealing import Sealer


class JobArchive:
    """Puts and reads records."""

    def __init__(self, objects: ObjectStore, sealer: Sealer) -> None:
        self._objects = objects
        self._sealer = sealer

    def put(self, record: Mapping[str, str]) -> None:
        """Store a whole record; the same one again changes nothing."""
        data = json.dumps(record, sort_keys=True).encode()
        self._objects.put(record_key(record["id"]), data, "application/json")

    def read(self, job_id: str) -> Job | None:
        """The job of an archived record, or None where retention is just removing it."""
        try:
            record = json.loads(self._objects.get(record_key(job_id)))
        except ObjectNotFound:
            return None
        return decode_job(record, self._sealer)


def archived_job(archive: JobArchive | None, job_id: str, *, owner: str) -> Job:
    """The owner's job; JobNotFound for everybody else's too, and where there is no archive."""
    job = archive.read(job_id) if archive else None
    if job is None or job.owner != owner:
        raise JobNotFound
    return job


def listed_job(archive: JobArchive | None, row: Job | str, *, owner: str, status: JobStatus | None) -> Job | None:
    """A listed job; None of an archived one that retention is removing, or whose status was not asked for."""
    if isinstance(row, Job):
        return row
    try:
        job = archived_job(archive, row, owner=owner)
    except JobNotFound:
        return None
    return job if status in {None, job.status} else None
