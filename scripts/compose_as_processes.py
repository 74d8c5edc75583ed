"""Runs docker-compose.yml as plain processes: each service's own command, environment and health check, in its order.

Where there is no container engine this is what shows that the file works. What a container would give is put in its
place, and nothing else is changed: names and ports become free ports of this machine, mounted paths folders under one
run folder, `/app` a tree of exactly what the image's Dockerfile copies there, user 10001 the user who runs this.
Garage is stood in for by moto (`garage_stand_in.py`), `valkey-cli` and `wget` by scripts; programs that are not here
are left out and named.

    python -m scripts.compose_as_processes        # start all, make one image over HTTP, stop all
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cli.services import find_valkey
from scripts.compose_file import Container, in_order, read_compose

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
CONFIGS = {".yml", ".yaml", ".toml"}  # mounted files that name addresses
IMAGE_COMMANDS = {"prom/prometheus": ("prometheus",), "grafana/grafana": ("grafana",)}  # what the images start
DNS = re.compile(r"dns_sd_configs: \[\{names: \[([\w-]+)\], type: A, port: (\d+)[^\]]*\]")  # asks the engine's resolver
LONGEST_WAIT_SECONDS = 240.0
LAST_LINES = 20  # of the log of a service that did not come up


class ServiceDidNotCome(Exception):
    """A service ended, or did not become healthy."""


@dataclass
class Running:
    """One started service."""

    container: Container
    process: subprocess.Popen[bytes]
    environment: Mapping[str, str]
    folder: Path
    log: Path


def _nobody(_line: str) -> None: ...


@dataclass
class ComposeRun:
    """All services of a file, under one folder."""

    folder: Path
    programs: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)
    say: Callable[[str], None] = _nobody
    running: list[Running] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    ports: dict[tuple[str, int], int] = field(default_factory=dict)
    _containers: dict[str, Container] = field(default_factory=dict)

    def start(self) -> None:
        """Start everything in order, each once those it depends on are as far as it asks.

        Raises:
            ServiceDidNotCome: with the end of its log.
        """
        self._containers = read_compose(ROOT / "docker-compose.yml", self.variables)
        for container in self._containers.values():
            self.ports |= {(container.name, port): _free_port() for port in container.ports}
        self._tools()
        for container in in_order(self._containers):
            if self._is_here(container):
                self._start(container)
            else:
                self.left_out.append(container.name)

    def url(self, name: str, port: int) -> str:
        return f"http://127.0.0.1:{self.ports[name, port]}"

    def execute(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one more command in a running service, as `docker compose exec` does."""
        service = next(item for item in self.running if item.container.name == name)
        return subprocess.run(
            self._argv(service.container, command),
            cwd=service.folder,
            env=dict(service.environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def stop(self) -> dict[str, float]:
        """Stop the last first; the seconds that each took. What outlives its grace period is killed."""
        took = {}
        for service in reversed(self.running):
            started = time.monotonic()
            service.process.terminate()
            try:
                service.process.wait(service.container.stop_seconds)
            except subprocess.TimeoutExpired:
                os.killpg(service.process.pid, signal.SIGKILL)
                service.process.wait()
            took[service.container.name] = time.monotonic() - started
        self.running.clear()
        return took

    def _start(self, container: Container) -> None:
        folder = self._tree(container)
        environment = self._environment(container, folder)
        log = self.folder / f"{container.name}.log"
        command = container.command
        if entry := _image_command(container):
            command = (*entry, *command)
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._argv(container, command),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = Running(container, process, environment, folder, log)
        if container.ends:
            self._wait(service, lambda: process.poll() == 0)
        else:
            self.running.append(service)
            self._wait(service, lambda: self._is_healthy(service))

    def _wait(self, service: Running, arrived: Callable[[], bool]) -> None:
        health = service.container.health
        patience = min(health.patience if health else LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
        name, began = service.container.name, time.monotonic()
        self.say(f"{name} starts ...")
        while not arrived():
            waited = time.monotonic() - began
            if service.process.poll() not in {None, 0} or waited > patience:
                raise ServiceDidNotCome(_why(service, waited))
            time.sleep(0.2)
        done = "has ended as it should" if service.container.ends else "is healthy"
        self.say(f"{name} {done} ({time.monotonic() - began:.0f} s)")

    def _is_healthy(self, service: Running) -> bool:
        assert service.container.health is not None
        kind, *test = service.container.health.test
        command = self._argv(service.container, ["sh", "-c", *test] if kind == "CMD-SHELL" else test)
        try:
            done = subprocess.run(
                command,
                cwd=service.folder,
                env=dict(service.environment),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=30,
                check=False,
            )
        except subprocess.TimeoutExpired:  # a busy machine: the next check may be faster
            return False
        return done.returncode == 0

    def _argv(self, container: Container, command: Sequence[str]) -> list[str]:
        program, *arguments = self._translated(container, command)
        if program == "darkroom":
            return [sys.executable, "-m", "cli", *arguments]
        return [*self._program(program), *arguments]

    def _program(self, name: str) -> tuple[str, ...]:
        known = {
            "python": (sys.executable,),
            "valkey-server": (find_valkey(),),
            "/garage": (sys.executable, str(SCRIPTS / "garage_stand_in.py")),
        }
        return known.get(name) or (self.programs.get(name, name),)

    def _is_here(self, container: Container) -> bool:
        sources_exist = all(item.is_volume or (ROOT / item.source).exists() for item in container.mounts)
        entry = _image_command(container)
        return sources_exist and (entry is None or entry[0] in self.programs)

    def _environment(self, container: Container, folder: Path) -> dict[str, str]:
        values = self._translated(container, [*container.environment.values()])
        given = dict(zip(container.environment, values, strict=True))
        path = f"{self.folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"
        return {"PATH": path, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1", **given}

    def _tree(self, container: Container) -> Path:
        """The folder that is `/app` of this service; mounted files that lie in it are put there too."""
        tree = self.folder / "app" / container.name
        tree.mkdir(parents=True)
        for source, target in copied(ROOT / container.dockerfile) if container.dockerfile else ():
            place = tree / target
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(ROOT / source)
        for mount in container.mounts:
            host = self._host_path(container, mount.target)
            if mount.is_volume:
                host.mkdir(parents=True, exist_ok=True)
            else:
                self._copy(container, ROOT / mount.source, host)
        (self.folder / "tmp" / container.name).mkdir(parents=True, exist_ok=True)
        return tree

    def _copy(self, container: Container, source: Path, target: Path) -> None:
        """A mounted file or folder of configuration, its addresses translated like all others."""
        for file in [source] if source.is_file() else [item for item in source.rglob("*") if item.is_file()]:
            place = target / file.relative_to(source) if source.is_dir() else target
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            if file.suffix in CONFIGS:
                text = DNS.sub(r'static_configs: [{targets: ["\1:\2"]}]', file.read_text(encoding="utf-8"))
                place.write_text(self._translated(container, [text])[0], encoding="utf-8")
            else:
                shutil.copyfile(file, place)

    def _host_path(self, container: Container, target: str) -> Path:
        mount = next(item for item in container.mounts if item.target == target)
        if mount.is_volume:
            return self.folder / "volumes" / mount.source
        if target.startswith("/app/"):
            return self.folder / "app" / container.name / target.removeprefix("/app/")
        return self.folder / "binds" / container.name / target.lstrip("/")

    def _translated(self, container: Container, texts: Sequence[str]) -> list[str]:
        table = self._table(container)
        pattern = re.compile("|".join(_bounded(name) for name in sorted(table, key=len, reverse=True)))
        return [pattern.sub(lambda match: table[match[0]], text) for text in texts]

    def _table(self, container: Container) -> dict[str, str]:
        """What stands for what, in one service: its own paths first, then those that mean one thing everywhere."""
        table = {
            "0.0.0.0": "127.0.0.1",  # noqa: S104 -- which is what this takes away
            "10001:10001": f"{os.getuid()}:{os.getgid()}",
        }
        for (name, port), free in self.ports.items():
            table |= {f"{name}:{port}": f"127.0.0.1:{free}", str(port): str(free)}
            for public, inner in self._containers[name].published.items():
                table[f"localhost:{public}"] = f"127.0.0.1:{self.ports[name, inner]}"
        for other in (*self._containers.values(), container):
            table |= {mount.target: str(self._host_path(other, mount.target)) for mount in other.mounts}
        app = self.folder / "app" / container.name
        return table | {"/app": str(app), "/tmp": str(self.folder / "tmp" / container.name)}  # noqa: S108

    def _tools(self) -> None:
        """Programs that health checks call and that are in the images, though not in a package of ours."""
        fetch = "from sys import argv; from urllib.request import urlopen; urlopen(argv[-1], timeout=4)"
        tools = {
            "valkey-cli": f'{sys.executable} {SCRIPTS / "valkey_cli_stand_in.py"} "$@"',
            "wget": f'{sys.executable} -c "{fetch}" "$@"',
        }
        (self.folder / "bin").mkdir(parents=True)
        for name, command in tools.items():
            tool = self.folder / "bin" / name
            tool.write_text(f"#!/bin/sh\nexec {command}\n")
            tool.chmod(0o755)


def _why(service: Running, waited: float) -> str:
    """What is known of a service that did not come up, while its log is still there."""
    code = service.process.poll()
    state = "its process still ran" if code is None else f"its process had ended, exit code {code}"
    lines = service.log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
    log = "\n".join(["The end of its log:", *lines]) if lines else "It wrote nothing to its log."
    return f"{service.container.name} did not come up within {waited:.0f} s; {state}. {log}"


def copied(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """What a Dockerfile copies from the repository into `/app`: source and place there."""
    for line in dockerfile.read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            *sources, target = line.split()[1:]
            if target.startswith("/app/") and ".venv" not in target:
                inside = target.removeprefix("/app/")
                yield from ((source, source if target.endswith("/") else inside) for source in sources)


@contextmanager
def compose_run(
    folder: Path, *, programs: Mapping[str, str], say: Callable[[str], None] = _nobody, **variables: str
) -> Iterator[ComposeRun]:
    """Everything up, and down again however the block ends."""
    run = ComposeRun(folder, programs, variables, say)
    try:
        run.start()
        yield run
    finally:
        run.stop()


def make_an_image(run: ComposeRun) -> bytes:
    """As the first user does: make a key with the command inside the container, submit, wait, follow the link."""
    made = run.execute("api", "darkroom", "keys", "create", "ada")
    if made.returncode:
        raise ServiceDidNotCome(f"no key could be made: {made.stderr[-2000:]}")
    key = made.stdout.strip().splitlines()[-1]
    body = {"prompt": "a red circle on a blue background", "num_inference_steps": 8, "seed": 1}
    job = _call(f"{run.url('api', 8000)}/generate", key, body)
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while job["status"] in {"queued", "running"} and time.monotonic() < deadline:
        job = _call(f"{run.url('api', 8000)}/jobs/{job['id']}", key)
    if job["status"] != "succeeded":
        raise ServiceDidNotCome(f"the job is {job['status']}")
    with urllib.request.urlopen(job["images"][0]["url"], timeout=30) as answer:
        image: bytes = answer.read()
        return image


def _call(url: str, key: str, body: Mapping[str, object] | None = None) -> dict[str, object] | object:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Prefer": "wait=30"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers), timeout=60) as answer:
        return json.load(answer)


def _image_command(container: Container) -> tuple[str, ...] | None:
    return IMAGE_COMMANDS.get(container.image.rpartition(":")[0])


def _bounded(name: str) -> str:
    """A pattern for the name where it stands by itself."""
    before = r"(?<![\w./-])" if name.startswith("/") else r"(?<![\w.-])"
    after = r"(?![\w-])(?!\.\w)" if name.startswith("/") else r"(?![\w-])"
    return before + re.escape(name) + after


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Run it once and say what came of it."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    programs = {"prometheus": found} if (found := shutil.which("prometheus")) else {}
    with tempfile.TemporaryDirectory(prefix="darkroom-compose-") as folder:
        try:
            with compose_run(Path(folder), programs=programs, say=partial(print, flush=True)) as run:
                print(f"healthy: {', '.join(item.container.name for item in run.running)}")
                print(f"left out, their programs are not here: {', '.join(run.left_out) or 'none'}")
                print(f"one image of {len(make_an_image(run)):,} bytes came over {run.url('api', 8000)}")
        except (ServiceDidNotCome, urllib.error.URLError) as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
