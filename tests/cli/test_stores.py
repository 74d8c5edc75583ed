"""Which stores a command asks, and what it says where they do not answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.data_folder import DataFolder, Session
from cli.main import app
from darkroom.errors import ConfigurationError, JobStoreUnavailable
from darkroom.job_store import JobStore
from tests.darkroom.factories import submit_job
from tests.fixtures.ports import free_port

COMMANDS = (
    ("jobs", "list"),
    ("jobs", "show", "job_x"),
    ("top",),
    ("usage",),
    ("owners", "list"),
    ("queue", "show"),
    ("keys", "list"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_where_nothing_runs_the_folder_the_redis_and_the_way_on_are_named(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("DARKROOM_REDIS_URL", f"redis://:a-password@127.0.0.1:{port}/0")
    result = CliRunner().invoke(app, [*words, "--data", str(tmp_path)])

    assert isinstance(result.exception, JobStoreUnavailable)
    said = result.exception.detail
    for part in (f"No `darkroom up` runs on {tmp_path}", f"127.0.0.1:{port} does not answer", "make up", "--data"):
        assert part in said
    assert "DARKROOM_REDIS_URL" in said
    assert "a-password" not in said


def test_a_service_that_was_killed_is_named_as_such(tmp_path: Path) -> None:
    port, folder = free_port(), DataFolder(tmp_path)
    url = f"redis://:a-password@127.0.0.1:{port}/0"
    folder.write_session(Session(url="http://127.0.0.1:1", api_key="dk", redis_url=url, pids={}))
    result = CliRunner().invoke(app, ["top", "--data", str(tmp_path)])

    assert isinstance(result.exception, JobStoreUnavailable)
    said = result.exception.detail
    assert (f"`darkroom up` on {tmp_path}, at 127.0.0.1:{port}" in said, "a-password" in said) == (True, False)


def test_a_list_of_jobs_needs_no_secret_and_a_look_at_one_names_the_variable(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit_job(store)
    monkeypatch.delenv("DARKROOM_LINK_SECRET")
    monkeypatch.delenv("DARKROOM_SECRET_FILE")

    assert job.id in CliRunner().invoke(app, ["jobs", "list", "--data", str(tmp_path)]).stdout
    looked = CliRunner().invoke(app, ["jobs", "show", job.id, "--data", str(tmp_path)])
    assert isinstance(looked.exception, ConfigurationError)
    assert "DARKROOM_LINK_SECRET" in looked.exception.detail
