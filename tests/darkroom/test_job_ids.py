"""Job ids."""

from __future__ import annotations

import pytest

from darkroom import job_ids
from darkroom.job_ids import is_job_id, new_job_id
from darkroom.object_store import check_key, output_key


def test_ids_are_distinct_and_recognised() -> None:
    ids = {new_job_id() for _ in range(1_000)}

    assert len(ids) == 1_000
    assert all(is_job_id(job_id) for job_id in ids)


def test_later_ids_sort_later(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.5, 1_700_000_000.0, 4_000_000_000.0])
    monkeypatch.setattr(job_ids, "unix_time", lambda: next(times))

    made = [new_job_id() for _ in range(4)]

    assert made == sorted(made)


@pytest.mark.parametrize(
    "text", ["", "job_", "job_" + "0" * 25, "job_" + "0" * 27, "job_" + "U" * 26, "x" * 30, "../x"]
)
def test_other_text_is_no_job_id(text: str) -> None:
    assert not is_job_id(text)


def test_ids_are_legal_in_object_keys() -> None:
    key = output_key(new_job_id(), 1, 0, ending="png")

    assert check_key(key) == key
