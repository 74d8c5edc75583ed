"""The whole service as real processes, with everything between them that can be broken.

Valkey with its append-only file, an S3 server, API processes and workers, each restarted when it dies; on request a
proxy before Valkey or before the S3 server. The model is tiny and random, so that a job takes a fraction of a second.
"""

from __future__ import annotations

import functools
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bench.reliability import witness
from bench.reliability.homes import Homes
from bench.reliability.members import Child, Keeper, Program
from bench.reliability.tcp_proxy import TcpProxy
from bench.reliability.trial import Trial
from bench.reliability.waiting import await_true
from cli.data_folder import write_private
from cli.services import find_valkey, free_port
from darkroom.keys import KeyStore
from darkroom.object_store import ObjectStore, make_object_store
from darkroom.sealing import Sealer
from darkroom.settings import ObjectStoreSettings

START_SECONDS = 120
BUCKET = "reliability"
MODEL = "tiny"
WITNESS = "bench.reliability.witness:install"
CATALOGUE = """
default = "{model}"

[models.{model}]
source = {{ folder = "{folder}" }}
licence = "Apache-2.0"
native_sizes = [[64, 64]]
num_inference_steps = 4
scheduler = "euler"
"""


@dataclass(frozen=True)
class Plan:
    """What a fleet is made of. Seconds are shorter than the defaults, so that a fault's whole course fits a check."""

    apis: int = 1
    workers: int = 3
    concurrency: int = 8
    lease_seconds: float = 6.0
    heartbeat_seconds: float = 1.0
    reaper_seconds: float = 1.0
    grace_seconds: float = 5.0
    delivery: bool = False
    redis_proxied: bool = False  # for the workers
    objects_proxied: bool = False  # for the workers
    api_hooks: tuple[str, ...] = ()
    worker_hooks: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    niceness: int = 0  # of workers and object store, which in earnest have machines of their own

    def shown(self) -> dict[str, Any]:
        """The settings that figures depend on."""
        names = ("apis", "workers", "concurrency", "lease_seconds", "heartbeat_seconds", "reaper_seconds", "niceness")
        return {name: getattr(self, name) for name in names} | {"model": "random weights, 64x64"}


class Fleet:
    """A running service."""

    def __init__(self, plan: Plan, folder: Path, homes: Homes) -> None:
        self._homes = homes
        self.plan = plan
        self.folder = folder
        self.keeper = Keeper()
        self.valkey_port, self.objects_port, self.api_port = free_port(), free_port(), free_port()
        self.redis_proxy = TcpProxy(self.valkey_port) if plan.redis_proxied else None
        self.objects_proxy = TcpProxy(self.objects_port) if plan.objects_proxied else None
        self.redis = redis.Redis(
            port=self.valkey_port, decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )
        self.witness_file = folder / "witness.jsonl"
        self.workers: list[Child] = []
        self.apis: list[Child] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @functools.cached_property
    def objects(self) -> ObjectStore:
        """The object store as it is, past any proxy."""
        return make_object_store(self._object_settings(self.objects_port))

    @functools.cached_property
    def sealer(self) -> Sealer:
        return Sealer.from_file(self.folder / "darkroom.secret")

    def key(self, owner: str) -> str:
        """A new API key of this owner."""
        return KeyStore(self.redis).create(owner, "reliability").token

    def seen(self) -> list[witness.Seen]:
        return list(witness.read(self.witness_file))

    def logs(self, pattern: str) -> Iterator[str]:
        """Every line of the logs with such names."""
        for path in sorted(self.folder.glob(pattern)):
            yield from path.read_text(encoding="utf-8", errors="replace").splitlines()

    def start(self, stack: ExitStack) -> None:
        """Start everything and wait until jobs can be taken in and run."""
        stack.callback(self.redis.connection_pool.disconnect)
        for proxy in (self.redis_proxy, self.objects_proxy):
            if proxy is not None:
                stack.callback(proxy.close)
        stack.callback(self.keeper.stop)
        self._start_stores()
        for number in range(self.plan.apis):
            self.add_api(number)
        for _ in range(self.plan.workers):
            self.add_worker()
        if self.plan.delivery:
            self._add_delivery()
        await_true(self.is_ready, seconds=START_SECONDS, what="the API is not ready")
        await_true(self._workers_started, seconds=START_SECONDS, what="no worker has started")

    def add_api(self, number: int) -> None:
        port = self.api_port if number == 0 else free_port()
        child = Child(
            f"api-{number}",
            self._homes.apis,
            module="api",
            environment={**self._environment(), "DARKROOM_PORT": str(port)},
            log=self.folder / f"api-{number}.log",
            hooks=self.plan.api_hooks,
        )
        self.apis.append(child)
        self.keeper.add(child)

    def add_worker(self) -> Child:
        number = len(self.workers)
        child = Child(
            f"worker-{number}",
            self._homes.workers,
            module="worker",
            environment=self._worker_environment(),
            log=self.folder / f"worker-{number}.log",
            hooks=(*self.plan.worker_hooks, WITNESS),
        )
        self.workers.append(child)
        self.keeper.add(child)
        return child

    def is_ready(self) -> bool:
        with suppress(httpx2.TransportError):
            return httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def valkey_answers(self) -> bool:
        with suppress(redis.RedisError):
            return bool(self.redis.ping())
        return False

    def started_lines(self, number: int) -> int:
        """How often this worker has come up so far."""
        return sum("worker_started" in line for line in self.logs(f"worker-{number}.log"))

    def _workers_started(self) -> bool:
        return all(self.started_lines(number) for number in range(self.plan.workers))

    def _start_stores(self) -> None:
        data = self.folder / "valkey"
        data.mkdir()
        write_private(self.folder / "darkroom.secret", secrets.token_urlsafe(32))
        options = {
            "--bind": "127.0.0.1", "--port": str(self.valkey_port), "--dir": str(data), "--appendonly": "yes",
            "--appendfsync": "everysec", "--save": "", "--maxmemory-policy": "noeviction",
        }  # fmt: skip
        words = [word for pair in options.items() for word in pair]
        self.keeper.add(Program("valkey", [find_valkey(), *words], log=self.folder / "valkey.log"))
        nice = ["nice", "-n", str(self.plan.niceness)]
        s3 = [*nice, sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.objects_port)]
        self.keeper.add(Program("objects", s3, log=self.folder / "objects.log"))
        await_true(self.valkey_answers, seconds=START_SECONDS, what="Valkey does not answer")
        await_true(self._objects_answer, seconds=START_SECONDS, what="the S3 server does not answer")
        self.objects.check()  # makes the bucket

    def _objects_answer(self) -> bool:
        with suppress(httpx2.TransportError):
            return httpx2.get(f"http://127.0.0.1:{self.objects_port}/moto-api/", timeout=2).status_code < 500
        return False

    def _add_delivery(self) -> None:
        self.keeper.add(
            Child(
                "delivery",
                self._homes.apis,
                module="worker.delivery",
                environment=self._environment(),
                log=self.folder / "delivery.log",
            )
        )

    def _environment(self) -> dict[str, str]:
        """The variables of every process of the service."""
        return {
            "DARKROOM_REDIS_URL": f"redis://127.0.0.1:{self.valkey_port}/0",
            "DARKROOM_CATALOGUE": str(self.folder / "catalogue.toml"),
            "DARKROOM_HOST": "127.0.0.1",
            "DARKROOM_PUBLIC_URL": self.url,
            "DARKROOM_SECRET_FILE": str(self.folder / "darkroom.secret"),
            "DARKROOM_REQUESTS_PER_MINUTE": "0",  # one key stands for many callers here
            "DARKROOM_NEAR_MISS_SLOW": "0",
            "DARKROOM_NEAR_MISS_HOLD": "0",
            **self._object_variables(self.objects_port),
            **self.plan.environment,
        }

    def _worker_environment(self) -> dict[str, str]:
        plan, environment = self.plan, self._environment()
        if self.redis_proxy is not None:
            environment["DARKROOM_REDIS_URL"] = f"redis://127.0.0.1:{self.redis_proxy.port}/0"
        if self.objects_proxy is not None:
            environment |= self._object_variables(self.objects_proxy.port)
        return environment | {
            "DARKROOM_DEVICE": "cpu",
            "DARKROOM_TORCH_THREADS": "1",
            "DARKROOM_NICENESS": str(plan.niceness),
            "DARKROOM_PROFILE_SECONDS": "0",
            "DARKROOM_WORKER_CONCURRENCY": str(plan.concurrency),
            "DARKROOM_LEASE_SECONDS": str(plan.lease_seconds),
            "DARKROOM_HEARTBEAT_SECONDS": str(plan.heartbeat_seconds),
            "DARKROOM_REAPER_SECONDS": str(plan.reaper_seconds),
            "DARKROOM_GRACE_SECONDS": str(plan.grace_seconds),
            witness.VARIABLE: str(self.witness_file),
        }

    def _object_variables(self, port: int) -> dict[str, str]:
        settings = self._object_settings(port)
        assert settings.s3_secret_access_key is not None, "the line below sets it"
        return {
            "DARKROOM_OBJECT_STORE": settings.object_store,
            "DARKROOM_S3_BUCKET": settings.s3_bucket,
            "DARKROOM_S3_ENDPOINT_URL": str(settings.s3_endpoint_url),
            "DARKROOM_S3_ACCESS_KEY_ID": str(settings.s3_access_key_id),
            "DARKROOM_S3_SECRET_ACCESS_KEY": settings.s3_secret_access_key.get_secret_value(),
        }

    def _object_settings(self, port: int) -> ObjectStoreSettings:
        return ObjectStoreSettings(
            object_store="s3",
            s3_bucket=BUCKET,
            s3_endpoint_url=f"http://127.0.0.1:{port}",
            s3_access_key_id="reliability",
            s3_secret_access_key="reliability",  # noqa: S106 - of a server that lives for one check
        )


@contextmanager
def running(plan: Plan, trial: Trial) -> Iterator[Fleet]:
    """A fleet in the trial's folder, ended with everything it started."""
    trial.folder.mkdir(parents=True, exist_ok=True)
    catalogue = CATALOGUE.format(model=MODEL, folder=trial.homes.model)
    (trial.folder / "catalogue.toml").write_text(catalogue, encoding="utf-8")
    with ExitStack() as stack:
        fleet = Fleet(plan, trial.folder, trial.homes)
        fleet.start(stack)
        yield fleet


def random_key() -> str:
    """An Idempotency-Key that nobody used before."""
    return secrets.token_hex(16)


def tail(paths: Sequence[Path], *, lines: int = 20) -> str:
    """The ends of logs, for a person who looks into a failure."""
    return "\n".join(
        f"== {path.name}\n" + "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        for path in paths
        if path.exists()
    )
