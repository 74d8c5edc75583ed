"""The weightiest checks of `bench.reliability` at a small size. A failure's seed and logs are in its message."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.reliability.checks.table import CHECKS
from bench.reliability.fleet import tail
from bench.reliability.homes import Homes, open_homes
from bench.reliability.trial import Trial

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
SHORT = {
    "workers_killed": 0.03,
    "valkey_killed": 0.1,
    "api_killed": 0.03,
    "equal_submits": 0.1,
    "zombies": 0.04,
    "cancels": 0.06,
    "rolling_restart": 0.1,
    "objects_fail": 0.1,
    "poison": 0.02,
}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homes]:
    with open_homes(tmp_path_factory.mktemp("homes")) as homes:
        yield homes


@pytest.mark.parametrize("name", SHORT)
def test_the_promise_holds(name: str, homes: Homes, tmp_path: Path) -> None:
    check = next(check for check in CHECKS if check.name == name)
    trial = Trial(homes, tmp_path / "fleet", seed=random.SystemRandom().randrange(2**32), scale=SHORT[name])

    outcome = check.run(trial)

    assert outcome.held, f"seed {trial.seed}: {outcome.broken}\n{outcome.figures}\n{tail(_logs(tmp_path))}"


def _logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("fleet/*.log"))
