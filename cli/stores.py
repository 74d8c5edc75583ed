"""The Redis and the object store of the service that a command is about.

That is the one that runs on the data folder, else the one that the variables name; where its Redis does not answer, the
error says which of the two was asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis
from pydantic import SecretStr

from cli.connection import running
from cli.data_folder import DataFolder, Session
from darkroom.errors import JobStoreUnavailable
from darkroom.object_store import ObjectStore, make_object_store
from darkroom.redis_client import make_redis, redis_errors
from darkroom.sealing import Sealer
from darkroom.settings import ObjectStoreSettings, RedisSettings, SecretSettings


@dataclass(frozen=True)
class Stores:
    """Where a service keeps its things."""

    redis: redis.Redis
    objects: ObjectStore
    sealer: Sealer


@contextmanager
def redis_of(data: Path) -> Iterator[redis.Redis]:
    """The job store of the service that runs on the data folder, else of DARKROOM_REDIS_URL.

    Raises:
        JobStoreUnavailable: it does not answer; the sentence says which one was asked, and what to do.
    """
    session = running(data)
    settings = RedisSettings(redis_url=session.redis_url) if session else RedisSettings.from_env()
    try:
        with make_redis(settings) as client, redis_errors():
            yield client
    except JobStoreUnavailable as error:
        if isinstance(error.__cause__, redis.ResponseError | redis.BusyLoadingError):
            raise  # it does answer
        raise JobStoreUnavailable(_why_silent(data, session, settings, error.__cause__)) from error


@contextmanager
def stores(data: Path) -> Iterator[Stores]:
    """The stores of the service that runs on the data folder, else of the variables that its processes have."""
    with redis_of(data) as client:
        client.ping()  # where nothing runs, that is what has to be said, before any variable that is missing
        objects, keys = _settings(data)
        yield Stores(client, make_object_store(objects), Sealer.from_settings(keys))


def _settings(data: Path) -> tuple[ObjectStoreSettings, SecretSettings]:
    session, folder = running(data), DataFolder(data)
    if session is None:
        return ObjectStoreSettings.from_env(), SecretSettings.from_env()
    secret = SecretStr(folder.secret("links"))
    objects = ObjectStoreSettings(
        object_store="local", object_store_folder=folder.objects, link_secret=secret, public_url=session.url
    )
    return objects, SecretSettings(secret_file=folder.seal_keys())


def _why_silent(data: Path, session: Session | None, settings: RedisSettings, cause: BaseException | None) -> str:
    folder, where = DataFolder(data).root, _address(settings.redis_url)
    refused = isinstance(cause, redis.AuthenticationError)
    silent = "refuses our user or password" if refused else "does not answer"
    if session is not None:
        return (
            f"The Redis of `darkroom up` on {folder}, at {where}, {silent}. If that command was killed, start it "
            f"again: `make up`, or `darkroom up --data {folder}`."
        )
    return (
        f"No `darkroom up` runs on {folder}, so the variables were asked, and their Redis at {where} {silent}. "
        "Start the service with `make up`, or name its folder with --data, or its Redis with DARKROOM_REDIS_URL."
    )


def _address(url: str) -> str:
    """Host and port, or the socket's path: never the password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
