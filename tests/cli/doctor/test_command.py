"""`darkroom doctor`: each fault is found, named and given its fix."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from cli.data_folder import DataFolder, Session
from cli.doctor.checks import CHECKS, examine
from cli.doctor.finding import Finding, State
from cli.doctor.place import Place
from cli.main import app
from darkroom.settings import RedisSettings
from darkroom.worker_registry import WorkerRegistry
from tests.darkroom.factories import make_worker_state
from tests.fixtures.ports import free_port
from tests.fixtures.secret_file import write_secret_file

ROOT = Path(__file__).parents[3]
WITHOUT_TORCH = [
    check for check in CHECKS if check.name != "gpu"
]  # a build for CPUs is right here; torch takes seconds


@pytest.fixture
def place(
    redis_settings: RedisSettings, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A machine in good order."""
    values = {
        "REDIS_URL": redis_settings.redis_url,
        "OBJECT_STORE_FOLDER": tmp_path / "objects",
        "LINK_SECRET": "a secret of tests",
        "SECRET_FILE": write_secret_file(tmp_path),
        "CATALOGUE": ROOT / "catalogue.toml",
        "PORT": free_port(),
        "METRICS_PORT": free_port(),
    }
    for name, value in values.items():
        monkeypatch.setenv(f"DARKROOM_{name}", str(value))
    right = {"maxmemory-policy": "noeviction", "appendonly": "yes"}
    before: Any = {name: redis_client.config_get(name)[name] for name in right}
    for name, value in right.items():
        redis_client.config_set(name, value)
    WorkerRegistry(redis_client).announce(make_worker_state())
    yield Place(tmp_path / "no-session", egress=f"127.0.0.1:{free_port()}")
    for name, value in before.items():
        redis_client.config_set(name, value)


def look(place: Place, name: str) -> Finding:
    return next(found for found in examine(place, WITHOUT_TORCH) if found.check == name)


def test_a_machine_in_good_order_has_no_fault_but_the_way_out(place: Place) -> None:
    states = {found.check: found.state for found in examine(place, WITHOUT_TORCH)}

    assert {name for name, state in states.items() if state not in {State.OK, State.SKIPPED}} == {"webhook egress"}


def test_every_fault_says_how_to_mend_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_REDIS_URL", f"redis://:a-password@127.0.0.1:{free_port()}/0")
    monkeypatch.setenv("DARKROOM_SECRET_FILE", "missing")
    found = examine(place, WITHOUT_TORCH)

    ill = [finding for finding in found if finding.state in {State.FAILED, State.WARNING}]
    assert {"redis", "secret file"} <= {finding.check for finding in ill}
    assert all(finding.fix.endswith(".") and finding.said for finding in ill)
    assert "a-password" not in str(found)


def test_what_needs_redis_is_skipped_without_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    states = {found.check: found.state for found in examine(place, WITHOUT_TORCH)}

    assert states["redis"] is State.FAILED
    assert {states[name] for name in ("redis version", "redis eviction", "clock", "workers")} == {State.SKIPPED}


def test_redis_that_throws_keys_away_or_forgets_them_fails(place: Place, redis_client: redis.Redis) -> None:
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    redis_client.config_set("appendonly", "no")

    assert "noeviction" in look(place, "redis eviction").fix
    assert "appendonly yes" in look(place, "redis append-only file").fix


def test_what_the_user_of_redis_may_not_ask_is_a_warning(place: Place, redis_client: redis.Redis) -> None:
    redis_client.acl_setuser("narrow", enabled=True, nopass=True, keys=["*"], categories=["+@all", "-@dangerous"])
    settings = RedisSettings.from_env()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKROOM_REDIS_URL", settings.redis_url.replace("//", "//narrow:x@"))
        found = look(place, "redis eviction")
    redis_client.acl_deluser("narrow")

    assert (found.state, "INFO" in found.fix) == (State.WARNING, True)


def test_a_clock_that_differs_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr("cli.doctor.job_store.time.time", lambda: real() - 30)

    found = look(place, "clock")
    assert (found.state, "ahead" in found.said) == (State.FAILED, True)


def test_a_port_of_another_program_fails(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.settimeout(0.1)
        monkeypatch.setenv("DARKROOM_PORT", str(other.getsockname()[1]))
        monkeypatch.setattr("cli.doctor.network.SECONDS", 0.2)

        assert look(place, "api port").state is State.FAILED


def test_a_variable_that_nobody_reads_and_one_with_a_bad_value_are_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_MAX_ROW", "4")
    assert "DARKROOM_MAX_ROWS" in look(place, "settings").said
    monkeypatch.setenv("DARKROOM_MAX_ROWS", "many")
    found = look(place, "settings")
    assert (found.state, "DARKROOM_MAX_ROWS" in found.said, "many" in found.said) == (State.FAILED, True, False)


@pytest.mark.parametrize(
    ("check", "variable", "fix"),
    [
        ("object store", "DARKROOM_LINK_SECRET", "16 characters or more, the same for every process"),
        ("secret file", "DARKROOM_SECRET_FILE", "openssl rand -base64 32"),
    ],
)
def test_a_secret_that_is_missing_is_named_and_its_fix_said_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, check: str, variable: str, fix: str
) -> None:
    monkeypatch.delenv(variable)
    found = look(place, check)

    assert (found.state, variable in found.said) == (State.FAILED, True)
    assert (found.fix.count(fix), found.said.count(fix)) == (1, 0)


def test_the_ports_of_up_are_looked_at_where_one_is_set(
    place: Place, redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = DataFolder(place.data)
    folder.prepare()
    folder.write_session(Session(url="http://127.0.0.1:1", api_key="dk", redis_url=redis_settings.redis_url, pids={}))

    found = look(place, "metrics ports")
    assert (found.state, os.environ["DARKROOM_METRICS_PORT"] in found.said) == (State.WARNING, True)
    monkeypatch.delenv("DARKROOM_METRICS_PORT")
    assert look(place, "metrics ports").state is State.SKIPPED


def test_an_object_store_that_takes_no_files_fails(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DARKROOM_OBJECT_STORE_FOLDER", str(tmp_path / "file"))

    assert look(place, "object store").state is State.FAILED


def test_the_probe_leaves_nothing_in_the_object_store(place: Place, tmp_path: Path) -> None:
    assert look(place, "object store").state is State.OK
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


def test_a_bucket_is_probed_too(place: Place, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OBJECT_STORE": "s3",
        "S3_ENDPOINT_URL": s3_endpoint,
        "S3_BUCKET": "doctor",
        "S3_ACCESS_KEY_ID": "test",
        "S3_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(f"DARKROOM_{name}", value)

    assert (look(place, "object store").state, look(place, "disk").state) == (State.OK, State.SKIPPED)


def test_the_command_prints_json_and_fails_where_something_has_failed(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cli.doctor.command.examine", lambda place: examine(place, WITHOUT_TORCH))

    def run(*words: str) -> tuple[int, dict[str, Any]]:
        result = CliRunner().invoke(app, ["doctor", "--json", "--data", str(tmp_path / "none"), *words])
        return result.exit_code, json.loads(result.stdout)

    code, said = run("--egress", f"127.0.0.1:{free_port()}")
    assert (code, said["ok"]) == (1, False)
    assert [check["check"] for check in said["checks"] if check["state"] == "failed"] == ["webhook egress"]
