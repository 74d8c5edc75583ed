"""A whole service for the command's tests: `darkroom up` as people start it, one a test session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.running import Running, darkroom_up


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that stays up; tests may fill its queue but not stop it."""
    with darkroom_up(tmp_path_factory.mktemp("service")) as running:
        yield running
