"""`darkroom usage`, straight on the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from cli.main import app
from darkroom.costs import Price
from darkroom.job_store import JobStore
from darkroom.jobs import JobStatus
from darkroom.settings import JobSettings, RedisSettings
from tests.darkroom.factories import make_image, run_one, submit_job


@pytest.fixture
def used(redis_settings: RedisSettings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_REDIS_URL", redis_settings.redis_url)
    monkeypatch.setenv("COLUMNS", "200")
    store = JobStore(redis_client, JobSettings())
    for owner in ("ada", "bob"):
        submit_job(store, owner=owner, price=Price(500_000_000, "EUR"))
        store.commit(run_one(store), status=JobStatus.SUCCEEDED, images=[make_image()], device_us=1_500_000)


def run(*words: str, data: Path) -> str:
    result = CliRunner().invoke(app, ["usage", *words, "--data", str(data)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.usefixtures("used")
def test_everybodys_day_is_shown(tmp_path: Path) -> None:
    shown = run(data=tmp_path)

    assert "ada" in shown
    assert "bob" in shown
    assert "0.7500 EUR" in shown


@pytest.mark.usefixtures("used")
def test_one_owners_day_comes_as_json(tmp_path: Path) -> None:
    (line,) = run("--owner", "ada", "--json", data=tmp_path).splitlines()

    day = json.loads(line)
    assert (day["owner"], day["jobs"], day["images"]) == ("ada", {"succeeded": 1}, 1)
    assert (day["device_seconds"], day["billed"]) == (1.5, {"EUR": 0.75})


@pytest.mark.usefixtures("used")
def test_days_before_are_empty(tmp_path: Path) -> None:
    assert run("--until", "2001-01-31", "--days", "31", "--json", data=tmp_path) == ""
