"""What running the compose file as processes says while services start, and where one does not come up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.compose_as_processes import ROOT, ComposeRun, Running, ServiceDidNotCome
from scripts.compose_file import HealthCheck, read_compose


def start(folder: Path, code: str) -> Running:
    """A service of the file whose health check never passes, with another program in it."""
    api = read_compose(ROOT / "docker-compose.yml", {})["api"]
    log = folder / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Running(replace(api, health=HealthCheck(("CMD", "false"), 2.0)), process, os.environ, folder, log)


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("import sys; print('the flux'); sys.exit('is gone')", ("exit code 1", "the flux", "is gone")),
        ("import time; time.sleep(60)", ("within 2 s; its process still ran", "It wrote nothing to its log.")),
    ],
)
def test_a_service_that_does_not_come_up_is_told_of_with_its_wait_and_its_log(
    tmp_path: Path, code: str, parts: tuple[str, ...]
) -> None:
    service = start(tmp_path, code)
    try:
        with pytest.raises(ServiceDidNotCome) as failure:
            ComposeRun(tmp_path, {})._wait(service, lambda: False)
    finally:
        if service.process.poll() is None:
            os.killpg(service.process.pid, signal.SIGKILL)
        service.process.wait()

    assert "api did not come up within" in str(failure.value)
    for part in parts:
        assert part in str(failure.value)


def test_each_service_has_a_line_when_it_starts_and_when_it_is_up(tmp_path: Path) -> None:
    said: list[str] = []
    service = start(tmp_path, "pass")
    service.process.wait()

    ComposeRun(tmp_path, {}, say=said.append)._wait(service, lambda: True)
    assert said == ["api starts ...", "api is healthy (0 s)"]
