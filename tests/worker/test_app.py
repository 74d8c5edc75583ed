"""What keeps a worker from starting, each as one sentence."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import worker.app
from darkroom.errors import ConfigurationError, DarkroomError
from darkroom.tickets import TASK_WORK
from tests.fixtures.ports import free_port
from tests.fixtures.secret_file import write_secret_file
from worker.app import Settings, WorkerProcess

CATALOGUE = """
[models.tiny]
source = {{ folder = "{folder}" }}
licence = "Apache-2.0"
native_sizes = [[64, 64]]
"""


@pytest.fixture
def _environment(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(CATALOGUE.format(folder=tiny_model), encoding="utf-8")
    monkeypatch.setenv("DARKROOM_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setenv("DARKROOM_CATALOGUE", str(catalogue))
    monkeypatch.setenv("DARKROOM_OBJECT_STORE_FOLDER", str(tmp_path))
    monkeypatch.setenv("DARKROOM_LINK_SECRET", "a secret of the tests")
    monkeypatch.setenv("DARKROOM_SECRET_FILE", str(write_secret_file(tmp_path)))
    monkeypatch.setenv("DARKROOM_DEVICE", "cpu")


def start() -> None:
    WorkerProcess(Settings.from_env()).start()


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("DARKROOM_WORKER_TIERS", "fast", "DARKROOM_WORKER_TIERS must list each of"),
        ("DARKROOM_HEARTBEAT_SECONDS", "20", "DARKROOM_HEARTBEAT_SECONDS must be at most half"),
        ("DARKROOM_SECRET_FILE", "", "DARKROOM_SECRET_FILE must name the file"),
        ("DARKROOM_LINK_SECRET", "", "the local object store needs DARKROOM_LINK_SECRET"),
        ("DARKROOM_POLICY", "none-such", "there is no policy named 'none-such'"),
        ("DARKROOM_DEVICE", "banana", "DARKROOM_DEVICE"),
        ("DARKROOM_MAX_ROWS", "1", "max_rows must be at least 2"),
        ("DARKROOM_MODELS_BUDGET", "a lot", "DARKROOM_MODELS_BUDGET"),
        ("DARKROOM_MODELS_BUDGET", "1kB", "the budget for models is 1,000"),
    ],
)
def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(DarkroomError, match=sentence):
        start()


@pytest.mark.usefixtures("_environment")
def test_celery_finds_an_app_that_is_built_only_when_it_is_asked_for() -> None:
    assert "celery" not in vars(worker.app)

    assert TASK_WORK in worker.app.celery.tasks


@pytest.mark.usefixtures("_environment")
def test_a_metrics_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("DARKROOM_METRICS_PORT", str(port))

        with pytest.raises(ConfigurationError, match=f"the metrics can't be served on 127.0.0.1:{port}"):
            start()


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ("previews = true", "policy own@1 allows previews, but requires no image check"),
        ('required_checks = ["image_stars"]', "policy own@1 requires the image check image_stars"),
    ],
)
def test_a_policy_that_the_image_stage_can_not_keep_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rules: str, sentence: str
) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    monkeypatch.setenv("DARKROOM_POLICY_DIR", str(folder))
    monkeypatch.setenv("DARKROOM_POLICY", "own")
    (folder / "own.toml").write_text(f'schema = 1\nname = "own"\nversion = 1\n[image]\n{rules}\n')

    with pytest.raises(ConfigurationError, match=sentence):
        start()
