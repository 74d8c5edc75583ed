"""Tiny pipelines on disk, made once a session, and engines on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import structlog

from engine import Engine, PipelineSpec
from tests.engine.tiny import save_tiny_pipeline

MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    diffusers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity_error()


@pytest.fixture(autouse=True)
def captured_logs() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as logs:
        yield logs


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An epsilon-prediction pipeline."""
    return save_tiny_pipeline(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_v(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A v-prediction pipeline."""
    return save_tiny_pipeline(tmp_path_factory.mktemp("tiny-v"), prediction_type="v_prediction")


@pytest.fixture
def make_engine(tiny: Path) -> Iterator[MakeEngine]:
    """Engines with the model `tiny` loaded; not started, so that what is submitted first starts together."""
    made: list[Engine] = []

    def make(folder: Path = tiny, **options: Any) -> Engine:
        engine = Engine({"tiny": PipelineSpec("tiny", str(folder))}, device="cpu", keep_latents=True, **options)
        made.append(engine)
        engine.load("tiny")
        return engine

    yield make
    for engine in made:
        engine.stop()
