"""The folder: whole files only, links that can't be forged."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from darkroom.errors import ObjectNotFound, ObjectStoreUnavailable
from darkroom.object_store import LocalObjectStore
from darkroom.object_store import local as local_module
from tests.darkroom.test_object_keys import HOSTILE

NOW = 1_000.0
KEY = "outputs/j/1/0.png"


def _store(folder: Path, secret: bytes = b"secret of the links") -> LocalObjectStore:
    return LocalObjectStore(folder, public_url="http://host:8000/", secret=secret)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalObjectStore:
    monkeypatch.setattr(local_module, "unix_time", lambda: NOW)
    return _store(tmp_path)


def _parts(link: str) -> tuple[str, int, str]:
    url = urlsplit(link)
    query = parse_qs(url.query, strict_parsing=True)
    assert url.path.startswith("/objects/")
    return url.path.removeprefix("/objects/"), int(query["expires"][0]), query["signature"][0]


def test_link_names_host_key_and_expiry(store: LocalObjectStore) -> None:
    link = store.url(KEY, expires_in=60, filename="x.png")

    assert link.startswith(f"http://host:8000/objects/{KEY}?expires=1060&signature=")


def test_link_is_good_until_it_expires(store: LocalObjectStore) -> None:
    key, expires, signature = _parts(store.url(KEY, expires_in=60, filename="x.png"))

    assert store.verify_link(key, expires, signature, NOW)
    assert store.verify_link(key, expires, signature, NOW + 59.9)
    assert not store.verify_link(key, expires, signature, NOW + 60)


@pytest.mark.parametrize("signature", ["", "0" * 64, "é", "\ud800", "A" * 10_000])
def test_forged_signature_is_refused(store: LocalObjectStore, signature: str) -> None:
    assert not store.verify_link(KEY, 1_060, signature, NOW)


def test_signature_holds_for_its_key_and_expiry_only(store: LocalObjectStore, tmp_path: Path) -> None:
    key, expires, signature = _parts(store.url(KEY, expires_in=60, filename="x.png"))

    assert not store.verify_link("outputs/j/1/1.png", expires, signature, NOW)
    assert not store.verify_link(key, expires + 1, signature, NOW)
    assert not _store(tmp_path, b"another secret").verify_link(key, expires, signature, NOW)


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_key_can_not_be_verified(store: LocalObjectStore, key: str) -> None:
    with pytest.raises(ObjectNotFound):
        store.verify_link(key, 1_060, "0" * 64, NOW)


def test_failed_write_leaves_the_old_file_and_no_other(
    store: LocalObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(KEY, b"old", "image/png")

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local_module.os, "fsync", full_disk)
    with pytest.raises(ObjectStoreUnavailable, match="No space left"):
        store.put(KEY, b"new", "image/png")

    assert store.get(KEY) == b"old"
    assert [path.name for path in (tmp_path / "outputs/j/1").iterdir()] == ["0.png"]


@pytest.mark.parametrize("folder", ["file", "file/folder", "file/deep/folder"])
def test_folder_whose_path_runs_through_a_file_is_unavailable(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = _store(tmp_path / folder)

    with pytest.raises(ObjectStoreUnavailable):
        store.check()
    with pytest.raises(ObjectStoreUnavailable):
        store.put(KEY, b"x", "image/png")
    with pytest.raises(ObjectStoreUnavailable):
        store.get(KEY)
    with pytest.raises(ObjectStoreUnavailable):
        store.delete_prefix("outputs/j/")


def test_key_that_runs_through_a_stored_file_is_not_found(store: LocalObjectStore) -> None:
    store.put(KEY, b"x", "image/png")

    with pytest.raises(ObjectNotFound):
        store.get(f"{KEY}/more.png")


def test_check_leaves_nothing_that_could_be_fetched(store: LocalObjectStore, tmp_path: Path) -> None:
    store.check()

    with pytest.raises(ObjectNotFound):
        store.get(next(path.name for path in tmp_path.iterdir()))
