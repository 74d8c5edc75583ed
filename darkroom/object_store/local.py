"""Stored files in a folder of this machine, with links that the API serves.

A file appears whole or not at all: it is written beside its place, flushed to disk and renamed. A link carries its
expiry and an HMAC over key and expiry, so it can be neither guessed nor changed.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from darkroom.clock import unix_time
from darkroom.errors import ObjectNotFound, ObjectStoreUnavailable
from darkroom.object_store.cdn import CdnLinks
from darkroom.object_store.keys import StoredFile, check_key, check_prefix

_PARTIAL = ".partial-"  # a legal key has no part that starts with a dot, so these can't be read or linked


class LocalObjectStore:
    """A folder as object store."""

    def __init__(self, folder: Path, *, public_url: str, secret: bytes, cdn: CdnLinks | None = None) -> None:
        self._folder = folder
        self._public_url = public_url.rstrip("/")
        self._secret = secret
        self._cdn = cdn

    def put(self, key: str, data: bytes, content_type: str) -> None:  # noqa: ARG002 -- the key's ending says it here
        path = self._folder / check_key(key)
        with _disk_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, data)

    def get(self, key: str) -> bytes:
        path = self._folder / check_key(key)
        with _disk_errors():
            try:
                return path.read_bytes()
            except (FileNotFoundError, IsADirectoryError) as error:
                raise ObjectNotFound from error
            except NotADirectoryError as error:
                if not self._folder.is_dir():  # the store's own path runs through a file, or is one
                    raise
                raise ObjectNotFound from error

    def url(self, key: str, *, expires_in: int, filename: str) -> str:  # noqa: ARG002 -- the API names the download
        if self._cdn and (link := self._cdn.url(key, expires_in=expires_in)):
            return link
        expires = int(unix_time()) + expires_in
        signature = self._signature(check_key(key), expires)
        return f"{self._public_url}/objects/{key}?expires={expires}&signature={signature}"

    def verify_link(self, key: str, expires: int, signature: str, now: float) -> bool:
        """Whether the link is ours and still good at `now`, in Unix seconds."""
        expected = self._signature(check_key(key), expires)
        return hmac.compare_digest(expected.encode(), signature.encode(errors="replace")) and now < expires

    def list_files(self, prefix: str, *, after: str, limit: int) -> list[StoredFile]:
        folder = self._folder / check_prefix(prefix)
        with _disk_errors(), suppress(FileNotFoundError):
            return list(itertools.islice(_files(folder, prefix, after=after), limit))
        return []

    def delete(self, key: str) -> None:
        path = self._folder / check_key(key)
        with _disk_errors(), suppress(FileNotFoundError):
            path.unlink()

    def delete_prefix(self, prefix: str) -> None:
        folder = self._folder / check_prefix(prefix)
        with _disk_errors(), suppress(FileNotFoundError):
            shutil.rmtree(folder)

    def check(self) -> None:
        with _disk_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            _write_whole(self._folder / ".check", b"ok")

    def _signature(self, key: str, expires: int) -> str:
        message = f"darkroom-link-1\n{key}\n{expires}"
        return hmac.new(self._secret, message.encode(), hashlib.sha256).hexdigest()


def _files(folder: Path, prefix: str, *, after: str) -> Iterator[StoredFile]:
    """All whole files below a folder, in the order of their keys."""
    with os.scandir(folder) as found:
        entries = {f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}": entry for entry in found}
    for key, entry in sorted(entries.items()):
        with suppress(FileNotFoundError):  # deleted meanwhile
            if key.endswith("/"):
                if key > after or after.startswith(key):
                    yield from _files(Path(entry.path), key, after=after)
            elif key > after and not entry.name.startswith("."):
                yield StoredFile(key, entry.stat().st_mtime)


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ObjectStoreUnavailable(f"The object store's folder can't be used: {error.strerror}") from error
