"""Starts `darkroom up` and the other commands as processes, the way people and scripts do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DARKROOM = (sys.executable, "-m", "cli")
READY_SECONDS = 120


def environment(**more: str) -> dict[str, str]:
    """The caller's variables, without those that point at a service."""
    kept = {name: value for name, value in os.environ.items() if name not in {"DARKROOM_URL", "DARKROOM_API_KEY"}}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


@dataclass(frozen=True)
class Running:
    """A service that is up."""

    process: subprocess.Popen[str]
    data: Path
    url: str
    api_key: str
    pids: Mapping[str, int]

    def pids_now(self) -> dict[str, int]:
        """The process ids as the session file tells them, restarts included."""
        pids: dict[str, int] = json.loads((self.data / "session.json").read_text())["pids"]
        return pids

    def get(self, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}{path}", headers={"Authorization": f"Bearer {self.api_key}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command that finds this service by its data folder."""
        return run_darkroom(*arguments, "--data", str(self.data), cwd=cwd)

    def signal_and_wait(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def run_darkroom(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*DARKROOM, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=READY_SECONDS
    )


def start(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    command = [*DARKROOM, *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@contextmanager
def darkroom_up(data: Path, *arguments: str) -> Iterator[Running]:
    """A service on that folder, ready when this yields."""
    with start("up", "--json", "--port", "0", "--data", str(data), *arguments) as process:
        try:
            assert process.stdout
            assert process.stderr
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield Running(process=process, data=data, **json.loads(line))
        finally:
            process.send_signal(signal.SIGTERM)
            wait_or_kill(process)


def wait_or_kill(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
