"""What leads from a found image back to the job that made it: the mark's payload and the looks of every new image.

One Redis stream, an entry an image, the newest N kept. Each API process follows it and keeps its own copy in memory, a
few bytes an image, to search by payload or by looks. An entry may outlive its job, and one of an attempt that was not
committed leads nowhere: whoever asks reads the job's record, under its owner, in the end.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from darkroom.errors import JobStoreUnavailable

STREAM = "darkroom:fingerprints"
PAGE = 2_000
NO_LOOKS = 0  # of a flat picture, which nothing can be compared with
_SLACK = 1.2  # how far beyond N the copy may grow before it is cut


@dataclass(frozen=True)
class Fingerprint:
    """One image, and what it can be known by."""

    owner: str
    job_id: str
    index: int
    payload: int
    looks: int | None


@dataclass(frozen=True)
class Match:
    """An image that the file may be."""

    owner: str
    job_id: str
    index: int
    by: str  # watermark or looks
    distance: int | None  # bits of the looks that differ, where both have looks


class FingerprintLog:
    """The writing side."""

    def __init__(self, client: redis.Redis, *, kept: int) -> None:
        self._redis = client
        self._kept = kept

    def add(self, print_: Fingerprint) -> None:
        """Remember an image.

        Raises:
            JobStoreUnavailable: Redis is not answering.
        """
        if not self._kept:
            return
        known_by = f"{print_.payload:06x}{print_.looks or NO_LOOKS:016x}"
        entry = {"is": known_by, "of": f"{print_.job_id}/{print_.index}", "owner": print_.owner}
        try:
            self._redis.xadd(STREAM, entry, maxlen=self._kept, approximate=True)  # type: ignore[arg-type]
        except redis.RedisError:
            raise JobStoreUnavailable from None


class FingerprintIndex:
    """The reading side of one API process."""

    def __init__(self, client: redis.asyncio.Redis, *, kept: int) -> None:
        self._redis = client
        self._kept = kept
        self._last = "-"
        self._payloads, self._looks = array("I"), array("Q")
        self._images: list[tuple[str, str]] = []  # (job/index, owner)

    async def refresh(self) -> None:
        """Read what came since the last time.

        Raises:
            JobStoreUnavailable: Redis is not answering.
        """
        while True:
            start = self._last if self._last == "-" else f"({self._last}"
            try:
                page: Any = await self._redis.xrange(STREAM, start, "+", count=PAGE)
            except redis.RedisError:
                raise JobStoreUnavailable from None
            for entry_id, entry in page:
                self._last = entry_id
                self._payloads.append(int(entry["is"][:6], 16))
                self._looks.append(int(entry["is"][6:], 16))
                self._images.append((entry["of"], entry["owner"]))
            if len(page) < PAGE:
                break
        if len(self._images) > self._kept * _SLACK:
            surplus = len(self._images) - self._kept
            for column in (self._payloads, self._looks, self._images):
                del column[:surplus]

    def by_payload(self, payload: int, looks: int | None) -> Iterator[Match]:
        """The images that carry it: one as a rule, and more where numbers meet."""
        for place, found in enumerate(self._payloads):
            if found == payload:
                yield self._match(place, "watermark", looks)

    def by_looks(self, looks: int, *, most: int) -> Iterator[Match]:
        """The images that differ in at most so many bits."""
        for place, found in enumerate(self._looks):
            if found != NO_LOOKS and (found ^ looks).bit_count() <= most:
                yield self._match(place, "looks", looks)

    def _match(self, place: int, by: str, looks: int | None) -> Match:
        of, owner = self._images[place]
        job_id, _, index = of.partition("/")
        known = looks is not None and self._looks[place] != NO_LOOKS
        distance = (self._looks[place] ^ looks).bit_count() if known and looks is not None else None
        return Match(owner, job_id, int(index), by, distance)
