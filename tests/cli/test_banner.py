"""What `darkroom up` prints once it is up: a command that works where it is read, and where the metrics are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cli.data_folder import DataFolder
from cli.services import Place, api, delivery, worker
from cli.up import banner, command


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `darkroom` beside the interpreter."""
    made = folder / ".venv" / "bin" / "darkroom"
    made.parent.mkdir(parents=True)
    made.write_text("#!/bin/sh\n")
    made.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(made.with_name("python")))
    return made


def test_the_command_is_printed_as_it_works_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = install(tmp_path / "here", monkeypatch)
    (tmp_path / "elsewhere").mkdir()

    monkeypatch.setenv("PATH", str(made.parent))
    assert command() == "darkroom"
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path / "here")
    assert command() == ".venv/bin/darkroom"
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command() == str(made)
    made.unlink()
    assert command() == f"{sys.executable} -m cli"


def test_the_addresses_of_metrics_are_those_of_this_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_METRICS_PORT", "9400")
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    place = Place(folder=folder, port=8123, redis_port=1, catalogue=tmp_path / "catalogue.toml")
    sender = delivery(place)
    port = sender.environment["DARKROOM_DELIVERY_METRICS_PORT"]

    said = banner(place, "dk_token", [api(place), sender, worker(place, 1), worker(place, 2)])
    for name, at in {"api": "8123", "delivery": port, "worker-1": "9400", "worker-2": "9401"}.items():
        assert f"http://127.0.0.1:{at}/metrics ({name})" in said
    assert f"-o out.png --data {folder.root}" in said

    monkeypatch.setenv("DARKROOM_API_METRICS_PORT", "9300")
    assert "http://127.0.0.1:9300/metrics (api)" in banner(place, "dk_token", [api(place)])
    monkeypatch.setenv("DARKROOM_METRICS", "false")
    assert "(api)" not in banner(place, "dk_token", [api(place)])
