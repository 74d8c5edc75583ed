"""Operations on the object store are timed; those it could not serve are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.errors import ObjectNotFound, ObjectStoreUnavailable
from darkroom.metrics import Metrics
from darkroom.object_store import LocalObjectStore, MeasuredObjectStore, plain_store

KEY = "outputs/job/1/0.png"


def measured(folder: Path) -> tuple[MeasuredObjectStore, Metrics]:
    metrics = Metrics()
    plain = LocalObjectStore(folder, public_url="http://127.0.0.1", secret=b"x" * 16)
    return MeasuredObjectStore(plain, metrics.observe_object_store), metrics


def counted(metrics: Metrics, name: str, operation: str) -> float:
    return metrics.registry.get_sample_value(name, {"operation": operation}) or 0.0


def test_each_operation_is_timed_and_does_what_the_plain_store_does(tmp_path: Path) -> None:
    store, metrics = measured(tmp_path)

    store.put(KEY, b"data", "image/png")
    assert store.get(KEY) == b"data"
    assert [file.key for file in store.list_files("outputs/", after="", limit=5)] == [KEY]
    store.delete(KEY)
    store.delete_prefix("outputs/job/")
    store.check()
    with pytest.raises(ObjectNotFound):
        store.get(KEY)

    times = {
        name: counted(metrics, "darkroom_object_store_seconds_count", name)
        for name in ("put", "get", "list", "delete", "check")
    }
    assert times == {"put": 1, "get": 2, "list": 1, "delete": 2, "check": 1}
    assert counted(metrics, "darkroom_object_store_errors_total", "get") == 0
    assert isinstance(plain_store(store), LocalObjectStore)


def test_what_the_store_could_not_serve_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    folder.write_text("no folder")
    store, metrics = measured(folder)

    with pytest.raises(ObjectStoreUnavailable):
        store.put(KEY, b"data", "image/png")

    assert counted(metrics, "darkroom_object_store_errors_total", "put") == 1
