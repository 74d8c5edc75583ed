"""Checks of where files lie: the disk, and the object store by a file that is written, read and deleted."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

from cli.doctor.finding import Verdict, failed, fine, skipped, warning
from cli.doctor.place import Place
from darkroom.object_store import make_object_store

NEEDED_BYTES, COMFORTABLE_BYTES = 1_000_000_000, 5_000_000_000
SLOW_SECONDS = 2.0


def disk(place: Place) -> Verdict:
    settings = place.object_settings()
    if settings.object_store != "local":
        return skipped("Images lie in a bucket.")
    folder = _existing(settings.object_store_folder)
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:.1f} GB are free where images lie."
    fix = f"Free some space on the disk of {folder}, or shorten DARKROOM_RESULT_TTL_SECONDS."
    if free < NEEDED_BYTES:
        return failed(said, fix)
    return warning(said, fix) if free < COMFORTABLE_BYTES else fine(said)


def object_store(place: Place) -> Verdict:
    """What is written comes back the same, and can be deleted."""
    settings = place.object_settings()
    if settings.object_store == "local" and settings.link_secret is None:
        return failed(
            "DARKROOM_LINK_SECRET is not set: links to images can't be signed.",
            "Set DARKROOM_LINK_SECRET: 16 characters or more, the same for every process.",
        )
    objects = make_object_store(settings)
    key, data = f"doctor/{secrets.token_hex(8)}.json", b'{"probe": true}'
    began = time.monotonic()
    objects.put(key, data, "application/json")
    try:
        same = objects.get(key) == data
        listed = any(file.key == key for file in objects.list_files("doctor/", after="", limit=1_000))
    finally:
        objects.delete(key)
    seconds = time.monotonic() - began
    if not same:
        return failed("A file came back changed.", "Something between here and the store changes files: a proxy?")
    if not listed:
        return failed("A file was stored but is not listed.", "The key needs the right to list the bucket.")
    said = f"A file was written, read, listed and deleted in {seconds * 1_000:.0f} ms."
    if seconds > SLOW_SECONDS:
        return warning(said, "Move the store nearer: every image waits for it.")
    return fine(said)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    whole = folder.absolute()
    return next(path for path in (whole, *whole.parents) if path.exists())
