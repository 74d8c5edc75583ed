"""The job store on the session's Valkey, with limits low enough to reach."""

from __future__ import annotations

import pytest
import redis

from darkroom.job_store import JobStore
from darkroom.settings import JobSettings


@pytest.fixture
def store(redis_client: redis.Redis) -> JobStore:
    return JobStore(redis_client, JobSettings(max_attempts=3, max_transient=2))
