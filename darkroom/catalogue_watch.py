"""The catalogue as its file says it now: read again when the file changes, while the process runs.

A changed file is validated whole before anything of it counts; a broken one changes nothing and is named in the log,
once. Has no thread of its own: whoever owns the process looks now and then, and is told by the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

from darkroom.catalogue import Catalogue, load_catalogue
from darkroom.errors import ConfigurationError
from darkroom.logs import get_logger

log = get_logger(__name__)
LOOK_SECONDS = 2.0  # between two looks
Accept = Callable[[Catalogue, Catalogue], bool]  # before and after; False: not now, ask again


class CatalogueWatch:
    """One process's catalogue. `now` may be read from any thread; one thread looks."""

    def __init__(self, catalogue: Catalogue, path: Path | None = None) -> None:
        """Without a path the catalogue stays as it is."""
        self._now = catalogue
        self._path = path
        self._stamp = _stamp(path)
        self._refused: tuple[int, int] | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """The catalogue of a file.

        Raises:
            ConfigurationError: it is not valid.
        """
        stamp = _stamp(path)
        watch = cls(load_catalogue(path), path)
        watch._stamp = stamp  # a change while it was read is seen at the first look
        return watch

    @property
    def now(self) -> Catalogue:
        return self._now

    def look(self, accept: Accept = lambda _before, _after: True) -> bool:
        """Read the file where it changed; whether another catalogue counts from now on."""
        stamp = _stamp(self._path)
        if self._path is None or stamp is None or stamp in {self._stamp, self._refused}:
            return False  # a file that is taken away in between goes on counting
        try:
            catalogue = load_catalogue(self._path)
        except ConfigurationError as error:
            self._refused = stamp
            log.warning("catalogue_not_taken", reason=error.detail)
            return False
        if catalogue != self._now and not accept(self._now, catalogue):
            return False
        changed = catalogue != self._now
        self._now, self._stamp, self._refused = catalogue, stamp, None
        if changed:
            log.info("catalogue_counts", models=sorted(catalogue.models), aliases=sorted(catalogue.aliases))
        return changed


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found else None
