"""The S3 store against a real server: links, bucket, trouble."""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.request import urlopen

import pytest

from darkroom.errors import ObjectNotFound, ObjectStoreUnavailable
from darkroom.object_store import S3ObjectStore
from darkroom.settings import ObjectStoreSettings
from tests.fixtures.ports import free_port


def _store(endpoint: str, **changes: Any) -> S3ObjectStore:
    values = {
        "object_store": "s3",
        "s3_bucket": f"test-{secrets.token_hex(4)}",
        "s3_endpoint_url": endpoint,
        "s3_access_key_id": "id",
        "s3_secret_access_key": "canary-secret",
    }
    return S3ObjectStore(ObjectStoreSettings(**(values | changes)))


def test_presigned_link_downloads_the_file_under_its_name(s3_endpoint: str) -> None:
    store = _store(s3_endpoint)
    store.put("outputs/j/1/0.webp", b"pixels", "image/webp")

    with urlopen(store.url("outputs/j/1/0.webp", expires_in=60, filename="job-0.webp"), timeout=10) as reply:
        assert reply.read() == b"pixels"
        assert reply.headers["Content-Type"] == "image/webp"
        assert reply.headers["Content-Disposition"] == 'attachment; filename="job-0.webp"'


def test_link_is_path_style_and_expires(s3_endpoint: str) -> None:
    store = _store(s3_endpoint, s3_bucket="some-bucket")

    link = store.url("a/b.png", expires_in=321, filename="b.png")

    assert link.startswith(f"{s3_endpoint}/some-bucket/a/b.png?")
    assert "X-Amz-Expires=321" in link
    assert "X-Amz-Signature=" in link


def test_link_names_the_endpoint_that_callers_reach(s3_endpoint: str) -> None:
    reached = s3_endpoint.replace("127.0.0.1", "localhost")
    store = _store(s3_endpoint, s3_link_endpoint_url=reached)
    store.put("a.png", b"pixels", "image/png")

    link = store.url("a.png", expires_in=60, filename="a.png")

    assert link.startswith(f"{reached}/")
    with urlopen(link, timeout=10) as reply:
        assert reply.read() == b"pixels"


def test_bucket_is_made_once_and_found_by_the_next(s3_endpoint: str) -> None:
    bucket = f"test-{secrets.token_hex(4)}"

    _store(s3_endpoint, s3_bucket=bucket, s3_region="eu-central-1").put("a.png", b"x", "image/png")

    assert _store(s3_endpoint, s3_bucket=bucket, s3_region="eu-central-1").get("a.png") == b"x"


def test_more_files_than_one_delete_call_takes_are_deleted(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.object_store.s3.DELETE_BATCH", 3)
    store = _store(s3_endpoint)
    for index in range(8):
        store.put(f"outputs/j/1/{index}.png", b"x", "image/png")

    store.delete_prefix("outputs/j/1/")

    for index in range(8):
        with pytest.raises(ObjectNotFound):
            store.get(f"outputs/j/1/{index}.png")


def test_unreachable_server_is_unavailable_soon_and_shows_no_secret() -> None:
    store = _store(f"http://127.0.0.1:{free_port()}")

    start = time.monotonic()
    with pytest.raises(ObjectStoreUnavailable) as caught:
        store.put("a.png", b"x", "image/png")

    assert time.monotonic() - start < 15
    assert "canary" not in str(caught.value)
    with pytest.raises(ObjectStoreUnavailable):
        store.check()


def test_store_recovers_when_the_server_comes_later(s3_endpoint: str) -> None:
    store = _store(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ObjectStoreUnavailable):
        store.check()

    store._settings = store._settings.model_copy(update={"s3_endpoint_url": s3_endpoint})

    store.check()


def test_bucket_that_vanished_is_unavailable_not_a_missing_file(s3_endpoint: str) -> None:
    store = _store(s3_endpoint)
    store.check()
    store._made.delete_bucket(Bucket=store._bucket)

    with pytest.raises(ObjectStoreUnavailable, match="NoSuchBucket"):
        store.get("a.png")
