"""Stored files in an S3 service by boto3: path-style, checksums only where required, links presigned.

Newer boto3 adds checksums by default that other S3 services refuse, so both are `when_required`. The client is built
at first use: making one reads files and takes a third of a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from darkroom.errors import ObjectNotFound, ObjectStoreUnavailable
from darkroom.object_store.cdn import CdnLinks
from darkroom.object_store.keys import StoredFile, check_key, check_prefix, content_type_of
from darkroom.settings import ObjectStoreSettings

MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
EXISTS = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
DELETE_BATCH = 1_000  # the protocol's limit


class S3ObjectStore:
    """A bucket as object store."""

    def __init__(self, settings: ObjectStoreSettings, cdn: CdnLinks | None = None) -> None:
        self._settings = settings
        self._cdn = cdn
        self._lock = threading.Lock()
        self._made: Any = None  # boto3 makes its client classes at run time
        self._made_signer: Any = None

    def put(self, key: str, data: bytes, content_type: str) -> None:
        with _service_errors():
            self._client().put_object(
                Bucket=self._bucket, Key=check_key(key), Body=data, ContentType=content_type, CacheControl="no-store"
            )

    def get(self, key: str) -> bytes:
        with _service_errors():
            body: bytes = self._client().get_object(Bucket=self._bucket, Key=check_key(key))["Body"].read()
            return body

    def url(self, key: str, *, expires_in: int, filename: str) -> str:
        if self._cdn and (cdn_link := self._cdn.url(key, expires_in=expires_in)):
            return cdn_link
        with _service_errors():
            link: str = self._signer().generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._bucket,
                    "Key": check_key(key),
                    "ResponseContentDisposition": f'attachment; filename="{filename}"',
                    "ResponseContentType": content_type_of(key),
                },
                ExpiresIn=expires_in,
            )
            return link

    def list_files(self, prefix: str, *, after: str, limit: int) -> list[StoredFile]:
        with _service_errors():
            page = self._client().list_objects_v2(
                Bucket=self._bucket, Prefix=check_prefix(prefix), StartAfter=after, MaxKeys=limit
            )
            return [StoredFile(item["Key"], item["LastModified"].timestamp()) for item in page.get("Contents", [])]

    def delete(self, key: str) -> None:
        with _service_errors():
            self._client().delete_object(Bucket=self._bucket, Key=check_key(key))

    def delete_prefix(self, prefix: str) -> None:
        with _service_errors():
            pages = self._client().get_paginator("list_objects_v2")
            for page in pages.paginate(
                Bucket=self._bucket, Prefix=check_prefix(prefix), PaginationConfig={"PageSize": DELETE_BATCH}
            ):
                names = [{"Key": item["Key"]} for item in page.get("Contents", [])]
                if names:
                    self._client().delete_objects(Bucket=self._bucket, Delete={"Objects": names, "Quiet": True})

    def check(self) -> None:
        with _service_errors():
            self._client().head_bucket(Bucket=self._bucket)

    @property
    def _bucket(self) -> str:
        return self._settings.s3_bucket

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                client = _make_client(self._settings, self._settings.s3_endpoint_url)
                _make_bucket(client, self._settings)
                self._made = client
            return self._made

    def _signer(self) -> Any:
        """Signs links: the signature covers the host, so it must be the one that callers reach."""
        if self._settings.s3_link_endpoint_url is None:
            return self._client()
        with self._lock:
            if self._made_signer is None:
                self._made_signer = _make_client(self._settings, self._settings.s3_link_endpoint_url)
            return self._made_signer


def _make_client(settings: ObjectStoreSettings, endpoint_url: str | None) -> Any:
    secret = settings.s3_secret_access_key
    session = boto3.session.Session()  # boto3's default session is not safe across threads
    return session.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(
            s3={"addressing_style": "path"},
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=3,
            read_timeout=20,
            retries={"total_max_attempts": 3, "mode": "standard"},
            max_pool_connections=32,
        ),
    )


def _make_bucket(client: Any, settings: ObjectStoreSettings) -> None:
    try:
        client.head_bucket(Bucket=settings.s3_bucket)
    except ClientError as error:
        if _code(error) not in MISSING | {"NoSuchBucket"}:
            raise
        _create_bucket(client, settings)


def _create_bucket(client: Any, settings: ObjectStoreSettings) -> None:
    options: dict[str, Any] = {}
    if settings.s3_region != "us-east-1":  # which S3 refuses as an explicit constraint
        options["CreateBucketConfiguration"] = {"LocationConstraint": settings.s3_region}
    try:
        client.create_bucket(Bucket=settings.s3_bucket, **options)
    except ClientError as error:
        if _code(error) not in EXISTS:  # another process was first
            raise


@contextmanager
def _service_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _code(error) in MISSING:
            raise ObjectNotFound from error
        raise ObjectStoreUnavailable(f"The object store refused the call ({_code(error)}).") from error
    except BotoCoreError as error:
        raise ObjectStoreUnavailable from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
