"""The arms of a comparison: one server process each, its own way of asking for an image, and when it answered.

All arms are up at once, so that rounds can be interleaved; but for the one that is measured they are stopped, since
some of them poll while they wait. An arm that isn't installed is left out, and the page says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from bench.engine.jobs import Job

START_SECONDS = 120
ANSWER_SECONDS = 900
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    """One job's image and its times, in seconds from the start of the round."""

    job: Job
    asked: float
    answered: float
    png: bytes

    @property
    def latency(self) -> float:
        return self.answered - self.asked


@dataclass(frozen=True)
class Arm:
    """A way of serving the model: how to start it and what it can do."""

    name: str
    title: str
    command: tuple[str, ...]
    adapters: bool = True  # whether it can use LoRAs
    environment: Mapping[str, str] = field(default_factory=dict)

    async def ask(self, client: httpx2.AsyncClient, job: Job) -> bytes:
        answer = await client.post("/make", json=job.to_json())
        answer.raise_for_status()
        return answer.content


class FirstExample(Arm):
    async def ask(self, client: httpx2.AsyncClient, job: Job) -> bytes:
        body = {"model": "model", "prompt": json.dumps(job.to_json())}
        answer = await client.post("/v1/images/generations", json=body)
        answer.raise_for_status()
        return await _file(client, answer.json()["data"][0]["url"])


class SecondExample(Arm):
    async def ask(self, client: httpx2.AsyncClient, job: Job) -> bytes:
        body = {"prompt": json.dumps(job.to_json()), "num_inference_steps": job.steps}
        answer = await client.post("/api/diffusers/inference", json=body)
        answer.raise_for_status()
        return await _file(client, answer.json()["response"][0])


@dataclass(frozen=True)
class RunningArm:
    """A started arm; its processes stand still but for while it is asked."""

    arm: Arm
    url: str
    pid: int

    def burst(self, jobs: Sequence[Job]) -> list[Answer]:
        """All jobs at once."""
        return self.play([(0.0, job) for job in jobs])

    def play(self, trace: Sequence[tuple[float, Job]]) -> list[Answer]:
        """Each job at its time, whether or not those before it are done."""
        self.signal(signal.SIGCONT)
        try:
            return asyncio.run(self._play(trace))
        finally:
            self.signal(signal.SIGSTOP)

    def signal(self, number: signal.Signals) -> None:
        """To its process and all that come from it."""
        for pid in _with_descendants(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def _play(self, trace: Sequence[tuple[float, Job]]) -> list[Answer]:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=self.url, timeout=ANSWER_SECONDS, limits=limits) as client:
            began = time.perf_counter()

            async def one(at: float, job: Job) -> Answer:
                await asyncio.sleep(max(at - (time.perf_counter() - began), 0))
                asked = time.perf_counter() - began
                file = await self.arm.ask(client, job)
                return Answer(job, asked, time.perf_counter() - began, file)

            return list(await asyncio.gather(*(one(at, job) for at, job in trace)))


def all_arms(peers_python: Path | None, examples: Path | None) -> list[Arm]:
    """The arms that can be started here.

    Args:
        peers_python: the Python of an environment with `peers.txt` installed; None leaves LitServe and Ray Serve out.
        examples: the `examples` folder of a diffusers checkout; None leaves its two servers out.
    """
    module = "bench.engine.servers"
    arms = [
        Arm("engine", "Darkroom's engine", (sys.executable, "-m", f"{module}.darkroom_engine")),
        Arm("P0", "diffusers, one after another", (sys.executable, "-m", f"{module}.serial")),
    ]
    python = str(peers_python or sys.executable)
    if examples is not None:
        for kind, name in ((FirstExample, "P1"), (SecondExample, "P2")):
            folder = "server" if name == "P1" else "server-async"
            command = (python, "-m", f"{module}.diffusers_examples", name, str(examples))
            arms.append(kind(name, f"diffusers' examples/{folder}", command, adapters=False))
    if peers_python is not None:
        arms.append(Arm("P3", "LitServe, batches of 8", (python, "-m", f"{module}.litserve_batching")))
        arms.append(Arm("P4", "Ray Serve, batches of 8", (python, "-m", f"{module}.ray_batching")))
    return arms


@contextmanager
def running(
    arms: Sequence[Arm], *, model: Path, adapters: Mapping[str, Path], threads: int
) -> Iterator[list[RunningArm]]:
    """All arms started, ready and warm; stopped at the end."""
    with ExitStack() as stack:
        started = [stack.enter_context(_running(arm, model, adapters, threads)) for arm in arms]
        for each in started:
            _wait_until_ready(each)
        yield started


@contextmanager
def _running(arm: Arm, model: Path, adapters: Mapping[str, Path], threads: int) -> Iterator[RunningArm]:
    port = _free_port()
    environment = {
        **os.environ,
        **arm.environment,
        "BENCH_PORT": str(port),
        "BENCH_MODEL": str(model.absolute()),
        "BENCH_ADAPTERS": "\n".join(f"{name}={file.absolute()}" for name, file in adapters.items()),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(REPOSITORY),
    }
    with subprocess.Popen(
        arm.command, env=environment, cwd=REPOSITORY, stdout=subprocess.DEVNULL, start_new_session=True
    ) as process:
        started = RunningArm(arm, f"http://127.0.0.1:{port}", process.pid)
        try:
            yield started
        finally:
            started.signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # some leave children behind


def _wait_until_ready(arm: RunningArm) -> None:
    """Until it has made an image; that warms it up as well."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            arm.burst([Job("a red circle", seed=0, steps=2)])
        except httpx2.HTTPError as error:
            if time.monotonic() > until:
                raise TimeoutError(f"{arm.arm.name} does not answer: {error}") from error
            arm.signal(signal.SIGCONT)  # it may still be starting
            time.sleep(0.5)
        else:
            return


def _with_descendants(pid: int) -> list[int]:
    """A process and all that come from it, parents first; from Linux's process table."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # `pid (name) state parent ...`, and a name may hold anything
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found.extend(children.get(each, ()))
    return found


async def _file(client: httpx2.AsyncClient, url: str) -> bytes:
    answer = await client.get("/images/" + url.rpartition("/")[2])
    answer.raise_for_status()
    return answer.content


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
