"""What the command's tests run against: a whole service as people start it, or bare stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from darkroom.job_store import JobStore
from darkroom.settings import JobSettings, RedisSettings
from tests.cli.running import Running, darkroom_up
from tests.fixtures.secret_file import SEALER, write_secret_file


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that stays up; tests may fill its queue but not stop it."""
    with darkroom_up(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def store(
    redis_settings: RedisSettings, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> JobStore:
    """Jobs in the stores that a command finds by its environment."""
    monkeypatch.setenv("DARKROOM_REDIS_URL", redis_settings.redis_url)
    monkeypatch.setenv("DARKROOM_OBJECT_STORE_FOLDER", str(tmp_path / "objects"))
    monkeypatch.setenv("DARKROOM_LINK_SECRET", "a secret of tests")
    monkeypatch.setenv("DARKROOM_SECRET_FILE", str(write_secret_file(tmp_path)))
    return JobStore(redis_client, JobSettings(), SEALER)
