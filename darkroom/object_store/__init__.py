"""Where finished files lie: one small interface over an S3 service and over a folder of this machine.

A key is a relative path such as `outputs/{job}/{attempt}/{index}.png`. A folder of this machine signs its own links.
Calls block: the API runs them in threads. Connection trouble is `ObjectStoreUnavailable`, a missing key is
`ObjectNotFound`. Knows nothing of jobs.
"""

from __future__ import annotations

from darkroom.object_store.keys import (
    CONTENT_TYPES,
    StoredFile,
    check_key,
    input_key,
    input_prefix,
    job_places,
    output_key,
    output_prefix,
    record_key,
    released_key,
)
from darkroom.object_store.local import LocalObjectStore
from darkroom.object_store.measured import MeasuredObjectStore, plain_store
from darkroom.object_store.s3 import S3ObjectStore
from darkroom.object_store.store import ObjectStore, delete_job_files, make_object_store

__all__ = [
    "CONTENT_TYPES",
    "LocalObjectStore",
    "MeasuredObjectStore",
    "ObjectStore",
    "S3ObjectStore",
    "StoredFile",
    "check_key",
    "delete_job_files",
    "input_key",
    "input_prefix",
    "job_places",
    "make_object_store",
    "output_key",
    "output_prefix",
    "plain_store",
    "record_key",
    "released_key",
]
