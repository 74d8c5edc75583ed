"""The processes of a fleet: started, killed, frozen, and started again by a keeper whenever they die."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[2]
START_SECONDS = 180
KEEPER_SECONDS = 0.02
RESTART_SECONDS = 0.3  # at least, between two starts of one member


class NurseryClient:
    """Orders processes from a nursery and hears of their ends."""

    def __init__(self, modules: Sequence[str], *, log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.reliability.nursery", *modules],
                cwd=ROOT,
                env={**_plain_environment(), "TOKENIZERS_PARALLELISM": "false"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._orders = itertools.count()
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._born: dict[int, Future[int]] = {}
        self.codes: dict[int, int] = {}  # exit codes of the dead, by process id
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, module: str, *, environment: Mapping[str, str], log: Path, hooks: Sequence[str]) -> int:
        """The process id of a new child."""
        assert self._ready.wait(START_SECONDS), "the nursery did not start"
        born: Future[int] = Future()
        with self._lock:
            number = next(self._orders)
            self._born[number] = born
            order = {
                "order": number,
                "module": module,
                "environment": {**_plain_environment(), **environment},
                "log": str(log),
                "hooks": list(hooks),
            }
            assert self._process.stdin is not None, "it was made with a pipe"
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        pid = born.result(START_SECONDS)
        self.codes.pop(pid, None)  # a number that was used before
        return pid

    def close(self) -> None:
        assert self._process.stdin is not None, "it was made with a pipe"
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None, "it was made with a pipe"
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None, "it was made with a pipe"
        with suppress(ValueError):  # closed while we read
            for line in self._process.stdout:
                fact = json.loads(line)
                if "ready" in fact:
                    self._ready.set()
                elif "pid" in fact:
                    self._born.pop(fact["order"]).set_result(fact["pid"])
                else:
                    self.codes[fact["ended"]] = fact["code"]


class Member(Protocol):
    """One process that the keeper keeps alive."""

    name: str
    pid: int | None

    def start(self) -> None: ...

    def alive(self) -> bool: ...


class Child:
    """A Python process of the service, from a nursery."""

    def __init__(
        self,
        name: str,
        nursery: NurseryClient,
        *,
        module: str,
        environment: Mapping[str, str],
        log: Path,
        hooks: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.pid: int | None = None
        self.log = log
        self.hooks = list(hooks)
        self.environment = dict(environment)
        self._nursery = nursery
        self._module = module

    def start(self) -> None:
        self.pid = self._nursery.start(self._module, environment=self.environment, log=self.log, hooks=self.hooks)

    def alive(self) -> bool:
        return self.pid is not None and self.pid not in self._nursery.codes

    def ended_with(self, pid: int | None) -> int | None:
        """The exit code of one of its processes; None of one that lives."""
        return self._nursery.codes.get(pid) if pid is not None else None


class Program:
    """Any other program: Valkey, the S3 server."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path) -> None:
        self.name = name
        self.pid: int | None = None
        self._command = list(command)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
                env=_plain_environment(),
            )
        self.pid = self._process.pid

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


class Keeper:
    """Starts members again that have died, unless they are meant to be down."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._members: dict[str, Member] = {}
        self._down: set[str] = set()
        self._next_start: dict[str, float] = {}
        self._stopped = threading.Event()
        self.deaths: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, member: Member) -> None:
        with self._lock:
            self._start(member)
            self._members[member.name] = member

    def send(self, name: str, number: int) -> None:
        """Send a signal to the member's whole process group, if it lives."""
        with self._lock:
            member = self._members[name]
            if member.alive() and member.pid is not None:
                with suppress(ProcessLookupError):
                    os.killpg(member.pid, number)

    def take_down(self, name: str, number: int = signal.SIGKILL) -> None:
        """End the member and leave it so."""
        with self._lock:
            self._down.add(name)
        self.send(name, number)
        self.await_death(name, seconds=60)

    def bring_up(self, name: str) -> None:
        with self._lock:
            self._down.discard(name)
            if not self._members[name].alive():
                self._start(self._members[name])

    def pause(self, names: Sequence[str]) -> None:
        """Let these members stand still."""
        for name in names:
            self.send(name, signal.SIGSTOP)

    def resume(self, names: Sequence[str]) -> None:
        for name in names:
            self.send(name, signal.SIGCONT)

    def await_death(self, name: str, *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._members[name].alive():
            assert time.monotonic() < deadline, f"{name} did not end within {seconds:g} s"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        for member in reversed(list(self._members.values())):
            with suppress(AssertionError):
                self.take_down(member.name)

    def _run(self) -> None:
        while not self._stopped.wait(KEEPER_SECONDS):
            with self._lock:
                for name, member in self._members.items():
                    if name not in self._down and not member.alive() and time.monotonic() >= self._next_start[name]:
                        self.deaths[name] = self.deaths.get(name, 0) + 1
                        self._start(member)

    def _start(self, member: Member) -> None:
        """Start it; one that can't live is not tried again and again without a pause."""
        self._next_start[member.name] = time.monotonic() + RESTART_SECONDS
        member.start()


def state_of(pid: int) -> str:
    """The kernel's letter for a process: R runs, S sleeps, T stands still."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return stat.rpartition(")")[2].split()[0]


def _plain_environment() -> dict[str, Any]:
    return {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
