"""`darkroom top`: what is in the store is what is shown."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from rich.console import Console
from typer.testing import CliRunner

from cli.main import app
from cli.top import Snapshot, bar, look, picture
from darkroom.job_store import JobStore
from darkroom.jobs import Tier
from darkroom.queue_control import QueueControl
from darkroom.settings import JobSettings, RedisSettings
from darkroom.worker_registry import WorkerRegistry
from tests.darkroom.factories import make_worker_state, run_one, submit_job


@pytest.fixture
def busy(redis_settings: RedisSettings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> redis.Redis:
    """Two wait and one runs; a worker serves `standard`, nobody `quality`."""
    monkeypatch.setenv("DARKROOM_REDIS_URL", redis_settings.redis_url)
    store = JobStore(redis_client, JobSettings())
    submit_job(store)
    run_one(store)
    submit_job(store)
    submit_job(store, tier=Tier.QUALITY)
    QueueControl(redis_client).pause(tier=Tier.PREVIEW)
    WorkerRegistry(redis_client).announce(make_worker_state(name="host-1", tiers=("standard",), rows=6, max_rows=16))
    return redis_client


def test_one_look_as_json_has_queues_workers_and_batches(busy: redis.Redis, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["top", "--once", "--json", "--data", str(tmp_path)])

    seen: dict[str, Any] = json.loads(result.stdout)
    queues = {queue["tier"]: queue for queue in seen["queues"]}
    assert (queues["standard"]["waiting"], queues["standard"]["running"], queues["standard"]["workers"]) == (1, 1, 1)
    assert (queues["quality"]["waiting"], queues["quality"]["workers"]) == (1, 0)
    assert queues["preview"]["paused"]
    assert (seen["rows"], seen["max_rows"], [worker["name"] for worker in seen["workers"]]) == (6, 16, ["host-1"])


@pytest.mark.parametrize("width", [80, 160])
def test_people_see_which_tier_nobody_serves(busy: redis.Redis, width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(picture(look(busy), width=width, steps_per_second={"host-1": 12.5}))

    said = console.export_text()
    assert "\N{HORIZONTAL ELLIPSIS}" not in said
    for words in ("no worker serves it", "paused", "host-1", "6/16", "12.5", "rows 6 of 16"):
        assert words in said


@pytest.mark.parametrize(
    ("rows", "row_cap", "said"), [(2, 2, "2/2 (of 16)"), (2, None, "2/16"), (2, 16, "2/16"), (6, 2, "6/16")]
)
def test_rows_are_held_against_the_measured_cap_where_it_is_lower(rows: int, row_cap: int | None, said: str) -> None:
    worker = make_worker_state(name="host-1", rows=rows, max_rows=16, row_cap=row_cap)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(picture(Snapshot((), (worker,), 0), width=80))

    shown = console.export_text()
    assert said in shown
    assert f"rows {said.replace('/', ' of ')}" in shown


def test_a_look_at_an_empty_store_is_no_error(redis_client: redis.Redis) -> None:
    assert (look(redis_client).workers, look(redis_client).rows) == ((), 0)


@pytest.mark.parametrize(("part", "whole", "length"), [(0, 16, 0), (8, 16, 6), (16, 16, 12), (20, 16, 12), (1, 0, 0)])
def test_a_bar_is_as_long_as_its_part(part: int, whole: int, length: int) -> None:
    assert len(bar(part, whole).rstrip()) == length
