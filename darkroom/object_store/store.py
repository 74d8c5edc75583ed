"""The interface of object stores, and which one the settings name."""

from __future__ import annotations

from typing import Protocol

from darkroom.errors import ConfigurationError
from darkroom.object_store.cdn import CdnLinks
from darkroom.object_store.keys import StoredFile, job_places
from darkroom.object_store.local import LocalObjectStore
from darkroom.object_store.s3 import S3ObjectStore
from darkroom.settings import ObjectStoreSettings


class ObjectStore(Protocol):
    """Puts, reads, links and deletes files by key."""

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store the whole file or nothing; an older one under the key is replaced."""

    def get(self, key: str) -> bytes:
        """The file's bytes."""

    def url(self, key: str, *, expires_in: int, filename: str) -> str:
        """A link that fetches the file for `expires_in` seconds and saves it as `filename`."""

    def list_files(self, prefix: str, *, after: str, limit: int) -> list[StoredFile]:
        """The files whose keys start with the prefix, in the order of their keys; those behind `after` only."""

    def delete(self, key: str) -> None:
        """Delete one file; none is fine too."""

    def delete_prefix(self, prefix: str) -> None:
        """Delete every file whose key starts with the prefix; none is fine too."""

    def check(self) -> None:
        """Return when the store takes writes, or raise ObjectStoreUnavailable."""


def delete_job_files(objects: ObjectStore, job_id: str) -> None:
    """Delete everything that was ever stored of a job."""
    for place in job_places(job_id):
        objects.delete_prefix(place)


def make_object_store(settings: ObjectStoreSettings) -> ObjectStore:
    """The store that the settings name; makes its folder or bucket when it is first used."""
    cdn = CdnLinks.from_settings(settings)
    if settings.object_store == "s3":
        return S3ObjectStore(settings, cdn)
    if settings.link_secret is None:
        raise ConfigurationError(
            "the local object store needs DARKROOM_LINK_SECRET to sign its links: 16 characters or more, "
            "the same for every process"
        )
    return LocalObjectStore(
        settings.object_store_folder,
        public_url=settings.public_url,
        secret=settings.link_secret.get_secret_value().encode(),
        cdn=cdn,
    )
