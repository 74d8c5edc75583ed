"""The bench of reviews, on a small scale: it finds nothing wrong, and would find it."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from bench.safety import review

pytestmark = pytest.mark.slow


def test_a_short_round_loses_nothing(redis_client: redis.Redis, tmp_path: Path) -> None:
    found = review.run(20, tmp_path, redis_client)

    for name in ("decided_twice", "not_ended", "released_without_approval", "deleted_under_hold"):
        assert found[name]["count"] == 0, name  # type: ignore[index]
    assert found["released_files_missing"] == 0
    assert sum(found["statuses"].values()) == 20  # type: ignore[attr-defined]
    assert "0 / 20" in review.as_markdown(found)
