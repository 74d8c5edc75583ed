"""Take-down: images that were released are withheld, deleted, and their looks barred from being made again.

First the record says so, then the files go, so that nothing that stops in between brings an image back; the same call
again completes it. Under a legal hold the files are not deleted but moved to where no link leads.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import redis

from darkroom.errors import FieldProblem, InvalidParams, ObjectNotFound
from darkroom.jobs import ImageRecord
from darkroom.lua_scripts import run_script
from darkroom.object_store import ObjectStore, record_key
from darkroom.redis_client import redis_errors
from darkroom.whole_record import whole_record

BARRED = "darkroom:barred"  # hash: looks of an image in hexadecimal -> JSON with job, by, at


class Takedowns:
    """Takes images down, for threads."""

    def __init__(self, client: redis.Redis, objects: ObjectStore) -> None:
        self._redis = client
        self._objects = objects

    def take_down(self, job_id: str, *, person: str, reason: str, images: Collection[int] | None = None) -> list[int]:
        """Withhold these images of the job, all of them by default; gives every index that is withheld now.

        Raises:
            JobNotFound, JobGone: there is no such job, or none any more.
            InvalidParams: the job has no such image.
        """
        record = whole_record(self._redis, self._objects, job_id)
        known = {image["index"]: ImageRecord(**image) for image in json.loads(record["images"])}
        chosen = set(known) if images is None else set(images)
        if unknown := sorted(chosen - set(known)):
            raise InvalidParams([FieldProblem("images", f"the job has no image {unknown[0]}")])
        withheld = sorted({*json.loads(record.get("withheld") or "[]"), *chosen})
        details = {"images": sorted(chosen), "reason": reason, "sha256": [known[index].sha256 for index in withheld]}
        barred = [known[index].looks for index in sorted(chosen) if known[index].looks]
        run_script(self._redis, "takedown", job_id, person, json.dumps(withheld), json.dumps(details), *barred)
        self._change_archived(job_id, withheld)
        self._remove([known[index].key for index in sorted(chosen)], job_id)
        return withheld

    def barred(self) -> frozenset[int]:
        """The looks that may not be made again."""
        with redis_errors():
            names: Any = self._redis.hkeys(BARRED)
        return frozenset(int(name, 16) for name in names)

    def unbar(self, looks: int) -> bool:
        """Let these looks be made again; False where they were not barred."""
        with redis_errors():
            return bool(self._redis.hdel(BARRED, f"{looks:016x}"))

    def _change_archived(self, job_id: str, withheld: Sequence[int]) -> None:
        """The record beside the images, where it lies there already or was just put there."""
        with suppress(ObjectNotFound):
            stored = json.loads(self._objects.get(record_key(job_id)))
            stored["withheld"] = json.dumps(withheld)
            self._objects.put(record_key(job_id), json.dumps(stored, sort_keys=True).encode(), "application/json")

    def _remove(self, keys: Sequence[str], job_id: str) -> None:
        with redis_errors():
            held = bool(self._redis.hexists("darkroom:legal_hold", job_id))
        for key in keys:
            if held:
                with suppress(ObjectNotFound):  # moved before
                    self._objects.put(f"held/{key}", self._objects.get(key), "application/octet-stream")
            self._objects.delete(key)
