"""What every object store does, run against the folder and against a real S3 server."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError, ObjectNotFound
from darkroom.object_store import LocalObjectStore, ObjectStore, S3ObjectStore, make_object_store
from darkroom.settings import ObjectStoreSettings
from tests.darkroom.test_object_keys import HOSTILE


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "local":
        return make_object_store(
            ObjectStoreSettings(object_store_folder=tmp_path / "not" / "there", link_secret="secret of the links")
        )
    return make_object_store(
        ObjectStoreSettings(
            object_store="s3",
            s3_bucket=f"test-{secrets.token_hex(4)}",
            s3_endpoint_url=request.getfixturevalue("s3_endpoint"),
            s3_access_key_id="id",
            s3_secret_access_key="secret",
        )
    )


def test_what_is_put_is_got(store: ObjectStore) -> None:
    data = secrets.token_bytes(300_000)

    store.put("outputs/j/1/0.png", data, "image/png")

    assert store.get("outputs/j/1/0.png") == data


def test_second_put_replaces_the_first(store: ObjectStore) -> None:
    store.put("a/b.png", b"first, and longer", "image/png")
    store.put("a/b.png", b"second", "image/png")

    assert store.get("a/b.png") == b"second"


def test_empty_file_is_a_file(store: ObjectStore) -> None:
    store.put("a/empty.json", b"", "application/json")

    assert store.get("a/empty.json") == b""


@pytest.mark.parametrize("key", ["none.png", "outputs/j/1", "outputs/j/1/0.png/x"])
def test_missing_key_is_not_found(store: ObjectStore, key: str) -> None:
    store.put("outputs/j/1/0.png", b"x", "image/png")

    with pytest.raises(ObjectNotFound):
        store.get(key)


@pytest.mark.parametrize("key", HOSTILE[:12])
def test_hostile_key_is_refused_everywhere(store: ObjectStore, key: str) -> None:
    for use in (
        lambda: store.put(key, b"x", "image/png"),
        lambda: store.get(key),
        lambda: store.url(key, expires_in=60, filename="x.png"),
    ):
        with pytest.raises(ObjectNotFound):
            use()


def test_prefix_is_deleted_and_nothing_beside_it(store: ObjectStore) -> None:
    for key in ("outputs/j/1/0.png", "outputs/j/1/1.png", "outputs/j/10/0.png", "outputs/j/2/0.png"):
        store.put(key, b"x", "image/png")

    store.delete_prefix("outputs/j/1/")

    assert store.get("outputs/j/10/0.png") == store.get("outputs/j/2/0.png") == b"x"
    for key in ("outputs/j/1/0.png", "outputs/j/1/1.png"):
        with pytest.raises(ObjectNotFound):
            store.get(key)


def test_files_are_listed_in_the_order_of_their_keys_page_by_page(store: ObjectStore) -> None:
    keys = sorted(f"outputs/{name}" for name in ("a/1/0.png", "a/10/0.png", "a/2/0.png", "a-b/1/0.png", "a.json"))
    for key in (*keys, "review/a/1/0.png"):
        store.put(key, b"x", "image/png")

    listed = store.list_files("outputs/", after="", limit=100)

    assert [file.key for file in listed] == keys
    assert all(abs(file.modified_at - time.time()) < 60 for file in listed)
    assert [file.key for file in store.list_files("outputs/", after=keys[1], limit=2)] == keys[2:4]


def test_listing_nothing_is_fine(store: ObjectStore) -> None:
    assert store.list_files("outputs/", after="", limit=100) == []


def test_deleting_nothing_is_fine(store: ObjectStore) -> None:
    store.delete_prefix("outputs/never/")


def test_fresh_store_is_ready(store: ObjectStore) -> None:
    store.check()


def test_threads_may_share_a_store(store: ObjectStore) -> None:
    def write(index: int) -> bytes:
        store.put(f"t/{index}.png", bytes([index]) * 1_000, "image/png")
        return store.get(f"t/{index}.png")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(24))) == [bytes([index]) * 1_000 for index in range(24)]


def test_settings_choose_the_store() -> None:
    assert isinstance(make_object_store(ObjectStoreSettings(object_store="s3")), S3ObjectStore)
    assert isinstance(make_object_store(ObjectStoreSettings(link_secret="x" * 16)), LocalObjectStore)
    with pytest.raises(ConfigurationError, match="DARKROOM_LINK_SECRET"):
        make_object_store(ObjectStoreSettings())
