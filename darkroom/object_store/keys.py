"""Names of stored files: how they are made and which are allowed.

A key can never leave the store's root, on any file system: no empty part, no dot at a part's start, a closed
alphabet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from darkroom.errors import ObjectNotFound

MAX_KEY = 512  # characters
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_PREFIX = re.compile(rf"(?:{_PART}/)+")

#: File ending -> content type.
CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "json": "application/json"}


@dataclass(frozen=True)
class StoredFile:
    """One file as a list shows it."""

    key: str
    modified_at: float  # Unix seconds


def output_prefix(job_id: str, attempt: int) -> str:
    """Where one attempt's files lie."""
    return f"outputs/{job_id}/{attempt}/"


def output_key(job_id: str, attempt: int, index: int, *, ending: str) -> str:
    """The key of one finished image."""
    return f"{output_prefix(job_id, attempt)}{index}.{ending}"


def released_key(key: str) -> str:
    """Where a held image lies once a person has let it go; the key of one that was never held stays."""
    return "outputs/" + key.removeprefix("review/") if key.startswith("review/") else key


def record_key(job_id: str) -> str:
    """Where the record of an ended job lies once it has left Redis."""
    return f"outputs/{job_id}/record.json"


def input_prefix(job_id: str) -> str:
    """Where the pictures lie that came with a job."""
    return f"inputs/{job_id}/"


def job_places(job_id: str) -> tuple[str, ...]:
    """Everywhere that files of a job can lie, over all of its attempts: released, held for review, sent with it."""
    return f"outputs/{job_id}/", f"review/{job_id}/", input_prefix(job_id)


def input_key(job_id: str, name: str) -> str:
    """The key of one of them: `init` or `mask`."""
    return f"{input_prefix(job_id)}{name}.png"


def original_key(job_id: str, name: str) -> str:
    """Where such a picture's file lies as it came, sealed, if it is kept at all."""
    return f"{input_prefix(job_id)}{name}.sealed"


def check_key(key: str) -> str:
    """Give the key back when it is a legal one; anything else can't exist in a store."""
    if len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise ObjectNotFound
    return key


def check_prefix(prefix: str) -> str:
    """Give the prefix back when it is a legal, non-empty folder name with its closing slash."""
    if len(prefix) > MAX_KEY or not _PREFIX.fullmatch(prefix):
        raise ValueError("a prefix is a folder's key with a closing slash")
    return prefix


def content_type_of(key: str) -> str:
    return CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream")
