"""Fixtures that are dear to make: one random pipeline of each family, and one folder of pictures, for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.tiny import save_tiny_pipeline
from tests.training.lora.tiny import save_pictures, save_tiny_xl


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("model"), prediction_type="v_prediction")


@pytest.fixture(scope="session")
def xl_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_xl(tmp_path_factory.mktemp("xl"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("folder") / "pictures")
