"""Deletes files that no record names: of attempts that died before their commit, of jobs that were never stored.

Goes through the object store page by page, one a call, and starts anew at its end. A file must have lain for a while,
for an upload comes before its commit. A job whose record was moved beside its files keeps them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from darkroom.clock import unix_time
from darkroom.errors import ObjectNotFound
from darkroom.job_store import Filed, JobStore
from darkroom.logs import get_logger
from darkroom.object_store import ObjectStore, StoredFile, record_key

log = get_logger(__name__)

PAGE = 500  # files of one call
PLACES = ("outputs/", "review/", "inputs/")
MOST_PAUSE_SECONDS, PAGES_IN_AN_AGE = 60.0, 60  # a page a minute, faster where files are to go sooner


class Orphans:
    """One sweep that never ends."""

    def __init__(self, jobs: JobStore, objects: ObjectStore, *, age_seconds: float) -> None:
        """`age_seconds` is how long a file must have lain."""
        self._jobs = jobs
        self._objects = objects
        self._age_seconds = age_seconds
        self._place = 0
        self._after = ""
        self._next_at = 0.0

    def sweep_when_due(self) -> int:
        """Look at a page if the last one was long enough ago; how many folders went."""
        if time.monotonic() < self._next_at:
            return 0
        self._next_at = time.monotonic() + min(MOST_PAUSE_SECONDS, self._age_seconds / PAGES_IN_AN_AGE)
        return self.sweep()

    def sweep(self) -> int:
        """Look at the next page; how many folders went."""
        place = PLACES[self._place]
        files = self._objects.list_files(place, after=self._after, limit=PAGE)
        self._after = files[-1].key if len(files) == PAGE else ""
        if not self._after:
            self._place = (self._place + 1) % len(PLACES)
        folders = self._old_folders(files)
        gone = [folder for folder, filed in self._filed(folders).items() if self._may_go(folder, filed)]
        for folder in gone:
            self._objects.delete_prefix(folder)
            log.info("orphans_deleted", folder=folder)
        return len(gone)

    def _old_folders(self, files: Iterable[StoredFile]) -> list[str]:
        youngest: dict[str, float] = {}
        for file in files:
            if folder := _folder(file.key):
                youngest[folder] = max(youngest.get(folder, 0.0), file.modified_at)
        return [folder for folder, at in youngest.items() if at < unix_time() - self._age_seconds]

    def _filed(self, folders: list[str]) -> dict[str, Filed]:
        answers = self._jobs.filed([_job_and_attempt(folder) for folder in folders])
        return dict(zip(folders, answers, strict=True))

    def _may_go(self, folder: str, filed: Filed) -> bool:
        return filed is Filed.STRAY or (filed is Filed.UNKNOWN and not self._archived(_job_and_attempt(folder)[0]))

    def _archived(self, job_id: str) -> bool:
        try:
            self._objects.get(record_key(job_id))
        except ObjectNotFound:
            return False
        return True


def _folder(key: str) -> str | None:
    """The folder that is kept or deleted as a whole; None for a file that is no attempt's and no input."""
    parts = key.split("/")
    if parts[0] == "inputs" and len(parts) == 3:
        return f"{parts[0]}/{parts[1]}/"
    if parts[0] != "inputs" and len(parts) == 4 and parts[2].isdecimal():
        return "/".join((*parts[:3], ""))
    return None


def _job_and_attempt(folder: str) -> tuple[str, str]:
    parts = folder.split("/")
    return parts[1], parts[2]  # an input's folder has nothing there
