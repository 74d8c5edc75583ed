"""`darkroom models routes`, straight on the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from cli.main import app
from darkroom.catalogue import load_catalogue
from darkroom.job_store import JobStore
from darkroom.jobs import JobStatus
from darkroom.route_board import RouteBoard
from darkroom.settings import JobSettings, RedisSettings
from tests.darkroom.factories import make_image, make_job, make_params, run_one
from tests.fixtures.secret_file import write_secret_file

CATALOGUE = """
default = "best"

[models.old]
source = { folder = "weights" }
licence = "MIT"
native_sizes = [[64, 64]]

[models.new]
source = { folder = "weights" }
licence = "MIT"
native_sizes = [[64, 64]]

[aliases.best]
variants = [{ model = "old", weight = 9 }, { model = "new", weight = 1 }]
canary = { model = "new" }
shadow = { model = "old", share = 0.5 }
"""


@pytest.fixture
def catalogue(tmp_path: Path, redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model_index.json").write_text("{}")
    path = tmp_path / "catalogue.toml"
    path.write_text(CATALOGUE)
    monkeypatch.setenv("DARKROOM_REDIS_URL", redis_settings.redis_url)
    monkeypatch.setenv("DARKROOM_CATALOGUE", str(path))
    monkeypatch.setenv("DARKROOM_SECRET_FILE", str(write_secret_file(tmp_path)))
    monkeypatch.setenv("DARKROOM_OBJECT_STORE_FOLDER", str(tmp_path / "objects"))
    monkeypatch.setenv("DARKROOM_LINK_SECRET", "a secret for links in tests")
    return path


def run(*words: str, data: Path) -> str:
    result = CliRunner().invoke(app, ["models", "routes", *words, "--data", str(data)])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_every_arm_is_shown_with_what_became_of_its_jobs(
    catalogue: Path, redis_client: redis.Redis, tmp_path: Path
) -> None:
    alias, store = load_catalogue(catalogue).aliases["best"], JobStore(redis_client, JobSettings())
    job = store.submit(make_job(route=alias.route, params=make_params(model="new"))).job
    store.commit(run_one(store), status=JobStatus.SUCCEEDED, images=[make_image()])
    store.rate(job.id, 4, owner="ada")

    rows = json.loads(run("--json", data=tmp_path))

    arms = {row["model"]: row for row in rows}
    assert {model: row["state"] for model, row in arms.items()} == {
        "old": "live", "new": "canary", "old+shadow": "shadow",
    }  # fmt: skip
    new = arms["new"]
    assert (new["share"], new["ended"], new["error_rate"], new["mean_rating"]) == (0.1, 1, 0.0, 4.0)
    assert arms["old"]["mean_rating"] is None
    assert "canary" in run(data=tmp_path)


def test_a_canary_that_is_out_is_shown_and_restored(catalogue: Path, redis_client: redis.Redis, tmp_path: Path) -> None:
    alias, board = load_catalogue(catalogue).aliases["best"], RouteBoard(redis_client, look_seconds=0)
    board.take_out(alias, "errors")

    assert "taken out: errors" in [row["state"] for row in json.loads(run("--json", data=tmp_path))]
    run("--restore", "best", data=tmp_path)

    assert board.out_of(alias) == frozenset()


def test_an_alias_that_is_not_there_is_not_restored(catalogue: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["models", "routes", "--restore", "worst", "--data", str(tmp_path)])

    assert result.exit_code != 0
