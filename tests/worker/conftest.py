"""A tiny model, an engine on it, and a workshop round both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from darkroom.job_store import JobStore
from darkroom.object_store import LocalObjectStore
from darkroom.settings import JobSettings, RedisSettings
from darkroom.tickets import TicketOffice, make_celery
from engine import Engine, PipelineSpec
from tests.engine.tiny import save_tiny_pipeline
from tests.worker.workshop import Workshop


@pytest.fixture(autouse=True)
def captured_logs() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as logs:
        yield logs


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def shared_engine(tiny_model: Path) -> Iterator[Engine]:
    with _engine(tiny_model) as engine:
        yield engine


@pytest.fixture
def own_engine(tiny_model: Path) -> Iterator[Engine]:
    """One that a test may break."""
    with _engine(tiny_model) as engine:
        yield engine


@pytest.fixture
def jobs(redis_client: redis.Redis) -> JobStore:
    return JobStore(redis_client, JobSettings())


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "objects", public_url="http://127.0.0.1", secret=b"a secret of tests")


@pytest.fixture
def office(redis_settings: RedisSettings, redis_client: redis.Redis) -> Iterator[TicketOffice]:
    celery = make_celery(redis_settings)
    yield TicketOffice(celery, redis_client)
    celery.close()


@pytest.fixture
def shop(jobs: JobStore, objects: LocalObjectStore, shared_engine: Engine) -> Workshop:
    return Workshop(jobs, objects, shared_engine)


def _engine(folder: Path) -> Engine:
    engine = Engine({"tiny": PipelineSpec("tiny", str(folder))}, device="cpu")
    engine.load("tiny")
    return engine
