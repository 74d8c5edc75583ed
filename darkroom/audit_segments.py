"""The audit log's older part: segments in the object store, and the walk over the whole log that verifies it.

A segment is written before its entries leave Redis, under a name that holds its first and last number, so that two who
seal at once only say some entries twice. A store that locks objects makes the segments unchangeable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from darkroom.audit import NO_HASH, AuditLog, Entry
from darkroom.clock import unix_time
from darkroom.errors import AuditBroken
from darkroom.object_store import ObjectStore

PLACE = "audit/"
SEAL_SECONDS = 3600.0  # age of the oldest entry at which a segment is written
SEGMENT = 5_000  # entries of one
PAGE = 500


@dataclass(frozen=True)
class Verified:
    """A log whose chain holds, up to this entry."""

    entries: int
    head: str


class AuditSegments:
    """Seals, reads and verifies."""

    def __init__(self, log: AuditLog, objects: ObjectStore) -> None:
        self._log = log
        self._objects = objects

    def seal(self, *, age_seconds: float = SEAL_SECONDS) -> int:
        """Write what Redis holds as a segment if its first entry is that old; gives the number of entries."""
        entries = self._log.unsealed(limit=SEGMENT)
        if not entries or float(entries[0].time) > unix_time() - age_seconds:
            return 0
        first, last = entries[0].seq, entries[-1].seq
        text = "".join(f"{entry.as_json()}\n" for entry in entries)
        self._objects.put(f"{PLACE}{first:012d}-{last:012d}.jsonl", text.encode(), "application/x-ndjson")
        self._log.sealed(last)
        return len(entries)

    def entries(self) -> Iterator[Entry]:
        """Every entry once, oldest first."""
        seen = 0
        for entry in self._everything():
            if entry.seq > seen:
                seen = entry.seq
                yield entry

    def verify(self) -> Verified:
        """Walk the whole log.

        Raises:
            AuditBroken: with the first place at which the chain does not hold.
        """
        number, digest = self._log.head()
        seq, before = 0, NO_HASH
        known: dict[int, str] = {}  # of the latest segment's entries, which a neighbour may say again
        for entry in self._everything():
            if entry.seq in known:
                if entry.hash != known[entry.seq]:
                    raise AuditBroken(f"Entry {entry.seq} of the audit log is there in two versions.")
                continue
            entry.follows(before, seq=seq + 1)
            seq, before = entry.seq, entry.hash
            known[seq] = before
            known.pop(seq - 2 * SEGMENT, None)
        if seq < number:
            raise AuditBroken(f"The audit log has {number} entries, of which the last {number - seq} are missing.")
        if seq == number and before != digest:
            raise AuditBroken("The audit log's end is not the entry that was written last.")
        return Verified(seq, before)

    def _everything(self) -> Iterator[Entry]:
        """Segments, then Redis; entries may come twice."""
        last = 0
        for key in self._segments():
            for line in self._objects.get(key).decode().splitlines():
                entry = Entry.from_json(line)
                last = max(last, entry.seq)
                yield entry
        while page := self._log.unsealed(after=last, limit=PAGE):
            yield from page
            last = page[-1].seq

    def _segments(self) -> Iterator[str]:
        after = ""
        while files := self._objects.list_files(PLACE, after=after, limit=PAGE):
            yield from (file.key for file in files)
            after = files[-1].key
