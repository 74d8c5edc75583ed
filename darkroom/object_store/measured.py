"""An object store whose operations are timed, and those that failed for want of it counted.

A missing file is an answer like any other. Knows no metrics: whoever makes one says where the times go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from darkroom.errors import ObjectStoreUnavailable
from darkroom.object_store.keys import StoredFile
from darkroom.object_store.store import ObjectStore

Observe = Callable[[str, float, bool], None]  # operation, seconds, whether the store was to be had


class MeasuredObjectStore:
    """Another store, timed."""

    def __init__(self, plain: ObjectStore, observe: Observe) -> None:
        self.plain = plain
        self._observe = observe

    def put(self, key: str, data: bytes, content_type: str) -> None:
        with self._timed("put"):
            self.plain.put(key, data, content_type)

    def get(self, key: str) -> bytes:
        with self._timed("get"):
            return self.plain.get(key)

    def url(self, key: str, *, expires_in: int, filename: str) -> str:
        """Not timed: a link is computed, the store is not asked."""
        return self.plain.url(key, expires_in=expires_in, filename=filename)

    def list_files(self, prefix: str, *, after: str, limit: int) -> list[StoredFile]:
        with self._timed("list"):
            return self.plain.list_files(prefix, after=after, limit=limit)

    def delete(self, key: str) -> None:
        with self._timed("delete"):
            self.plain.delete(key)

    def delete_prefix(self, prefix: str) -> None:
        with self._timed("delete"):
            self.plain.delete_prefix(prefix)

    def check(self) -> None:
        with self._timed("check"):
            self.plain.check()

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        started, ok = time.perf_counter(), True
        try:
            yield
        except ObjectStoreUnavailable:
            ok = False
            raise
        finally:
            self._observe(operation, time.perf_counter() - started, ok)


def plain_store(store: ObjectStore) -> ObjectStore:
    """The store itself, without the clock round it."""
    return store.plain if isinstance(store, MeasuredObjectStore) else store
