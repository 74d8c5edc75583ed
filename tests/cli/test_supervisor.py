from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli import supervisor
from cli.child import Service, ServiceFailed
from tests.cli.processes import is_alive, still_alive

ROOT = Path(__file__).parents[2]
READY = "import pathlib, sys, time; pathlib.Path('{folder}/{name}.ready').touch(); "
SLEEPS = READY + "time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
DIES = READY + "time.sleep(0.2); sys.exit('no more paper')"
NEVER_STARTS = "import sys; sys.exit('the flux is not compensated')"
SAYS_WHEN_IT_ENDS = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: "
    "(open('{folder}/endings', 'a').write('{name} '), sys.exit(0))); " + SLEEPS
)


class Supervised:
    """The supervisor as a process, and what it has told last."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pids: dict[str, int] = {}

    def read_pids(self) -> dict[str, int]:
        assert self.process.stdout
        self.pids = json.loads(self.process.stdout.readline())
        return self.pids

    def signal_and_wait(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


@contextmanager
def supervise(folder: Path, *services: tuple[str, int, str]) -> Iterator[Supervised]:
    arguments = [f"{name}:{stage}:{code.format(folder=folder, name=name)}" for name, stage, code in services]
    command = [sys.executable, "-m", "tests.cli.supervised", str(folder), *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Supervised(process)
        finally:
            process.kill()


def test_a_service_that_dies_is_started_again(tmp_path: Path) -> None:
    with supervise(tmp_path, ("one", 0, SLEEPS), ("two", 0, SLEEPS)) as supervised:
        first = supervised.read_pids()

        subprocess.run(["kill", "-9", str(first["one"])], check=True)
        during, after = supervised.read_pids(), supervised.read_pids()

        assert "one" not in during
        assert after["one"] != first["one"]
        assert is_alive(after["one"])
        assert after["two"] == first["two"]


def test_sigterm_leaves_no_process(tmp_path: Path) -> None:
    with supervise(tmp_path, ("one", 0, SLEEPS), ("two", 1, SLEEPS)) as supervised:
        pids = supervised.read_pids()

        assert supervised.signal_and_wait(signal.SIGTERM) == 0

        assert not any(is_alive(pid) for pid in pids.values())


def test_kill_9_of_the_supervisor_leaves_no_process(tmp_path: Path) -> None:
    with supervise(tmp_path, ("one", 0, SLEEPS), ("deaf", 1, DEAF)) as supervised:
        pids = supervised.read_pids()

        supervised.signal_and_wait(signal.SIGKILL)

        assert still_alive(pids.values(), within=5) == []


@pytest.mark.slow
def test_a_service_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with supervise(tmp_path, ("deaf", 0, DEAF)) as supervised:
        pids = supervised.read_pids()

        assert supervised.signal_and_wait(signal.SIGTERM) == 0

        assert not is_alive(pids["deaf"])


def test_a_second_ctrl_c_does_not_wait_for_a_deaf_service(tmp_path: Path) -> None:
    with supervise(tmp_path, ("deaf", 0, DEAF.replace("600", "601"))) as supervised:
        pids = supervised.read_pids()

        supervised.process.send_signal(signal.SIGINT)
        time.sleep(0.4)
        asked_again = time.monotonic()
        supervised.signal_and_wait(signal.SIGINT)

        assert time.monotonic() - asked_again < 1.0
        assert not is_alive(pids["deaf"])


def test_services_stop_in_the_reverse_order_of_their_start(tmp_path: Path) -> None:
    stages = [(name, stage, SAYS_WHEN_IT_ENDS) for stage, name in enumerate(("store", "api", "worker"))]
    with supervise(tmp_path, *stages) as supervised:
        supervised.read_pids()

        supervised.signal_and_wait(signal.SIGTERM)

    assert (tmp_path / "endings").read_text().split() == ["worker", "api", "store"]


@pytest.mark.slow
def test_a_service_that_keeps_dying_ends_everything_with_a_sentence(tmp_path: Path) -> None:
    with supervise(tmp_path, ("one", 0, SLEEPS), ("weak", 1, DIES)) as supervised:
        pids = supervised.read_pids()

        assert supervised.process.wait(timeout=60) == 1

        assert supervised.process.stderr
        complaint = supervised.process.stderr.read()
        assert "weak ended 5 times right after its start (exit code 1)" in complaint
        assert "no more paper" in complaint
        assert not is_alive(pids["one"])


def test_a_service_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    with supervise(tmp_path, ("one", 0, SLEEPS), ("bad", 1, NEVER_STARTS)) as supervised:
        assert supervised.process.wait(timeout=30) == 1

        assert supervised.process.stderr
        complaint = supervised.process.stderr.read()
        assert "bad could not start (exit code 1)" in complaint
        assert "the flux is not compensated" in complaint


def start_slowly(folder: Path, *, ready_after: float, start_seconds: float) -> list[str]:
    """What is said while a service starts that is ready after so many seconds."""
    begun, said = time.monotonic(), list[str]()
    slow = Service(
        name="slow",
        command=(sys.executable, "-c", "import time; print('warming up', flush=True); time.sleep(600)"),
        environment=os.environ,
        log=folder / "slow.log",
        is_ready=lambda: time.monotonic() - begun > ready_after,
        stage=0,
        start_seconds=start_seconds,
    )
    running = supervisor.Supervisor(say=said.append, on_pids=lambda _pids: None)
    try:
        running.start([slow])
    finally:
        running.stop()
    return said


def test_what_starts_slowly_is_told_of_until_it_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "NEWS_SECONDS", 0.3)
    said = start_slowly(tmp_path, ready_after=1.0, start_seconds=60)

    assert said
    assert all(line.startswith("still starting slow (") for line in said)


def test_what_is_never_ready_ends_with_its_log_and_whether_it_ran(tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="not ready within 2 s, though its process still ran") as failure:
        start_slowly(tmp_path, ready_after=600, start_seconds=2)

    assert "slow.log; the last line: warming up" in failure.value.detail
