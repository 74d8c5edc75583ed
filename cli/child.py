"""One process that the supervisor keeps alive: started, watched, started again, stopped.

A child ends with its supervisor, however that ends: on Linux the kernel sends it SIGKILL when the parent is gone.
Knows nothing of what it runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from darkroom.errors import DarkroomError

PR_SET_PDEATHSIG = 1
FAST_DEATH_SECONDS = 10.0  # dying sooner than this, or before it was ready, counts against it
MAX_FAST_DEATHS = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds before it is started again; doubles with each fast death
KEPT_LOG_BYTES = 10_000_000


class ServiceFailed(DarkroomError):
    """A part of the service does not stay up."""

    code = "service_failed"


@dataclass(frozen=True)
class Service:
    """What to run, and when it counts as up."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    is_ready: Callable[[], bool]
    stage: int  # started in rising, stopped in falling order
    start_seconds: float = 180.0  # a busy machine is slow; what has ended is noticed at once
    stop_seconds: float = 10.0


class Child:
    """The running process of one service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ready = False
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._log_start = 0
        self._fast_deaths = 0
        self._restart_at = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process, its output going to its log."""
        self._rotate_log()
        with self.service.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 -- our own commands
                self.service.command,
                env=dict(self.service.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops the children in order
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 -- the supervisor has one thread
            )
        self._started_at = time.monotonic()
        self.ready = False

    def check_ready(self) -> bool:
        if not self.ready and self.pid is not None:
            self.ready = self.service.is_ready()
        return self.ready

    def tend(self) -> str | None:
        """Start a dead process again when its pause is over; returns what happened, in words.

        Raises:
            ServiceFailed: it died quickly too many times in a row.
        """
        assert self._process is not None, "tend follows start"
        if self._process.poll() is None:
            self.check_ready()
            return None
        if not self._restart_at:
            self._restart_at = time.monotonic() + self._pause()
            return f"{self.service.name} ended ({self.ending()}); starting it again."
        if time.monotonic() >= self._restart_at:
            self._restart_at = 0.0
            self.start()
        return None

    def ending(self) -> str:
        """How the process ended, in words."""
        code = self._process.poll() if self._process else None
        if code is None:
            return "still running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def last_words(self) -> str:
        """The last line that this run wrote to its log."""
        with self.service.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else ""

    def ask_to_stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> bool:
        """Whether the process has ended within that time."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End the process and whatever it started."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _pause(self) -> float:
        early = not self.ready or time.monotonic() - self._started_at < FAST_DEATH_SECONDS
        self._fast_deaths = self._fast_deaths + 1 if early else 0
        if self._fast_deaths >= MAX_FAST_DEATHS:
            raise ServiceFailed(
                f"{self.service.name} ended {MAX_FAST_DEATHS} times right after its start ({self.ending()}). "
                f"Its log is {self.service.log}; the last line: {self.last_words()}"
            )
        return min(FIRST_PAUSE * float(2**self._fast_deaths), LONGEST_PAUSE)

    def _rotate_log(self) -> None:
        log = self.service.log
        if log.exists() and log.stat().st_size > KEPT_LOG_BYTES:
            log.replace(log.with_suffix(".old.log"))


def die_with_parent(signal_number: int) -> Callable[[], None] | None:
    """What a new process runs before its program: ask the kernel for a signal when the parent dies."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return ask
