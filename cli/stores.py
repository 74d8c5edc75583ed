"""The Redis and the object store of the service that a command is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from pydantic import SecretStr

from cli.connection import running
from cli.data_folder import DataFolder
from darkroom.object_store import ObjectStore, make_object_store
from darkroom.redis_client import make_redis
from darkroom.sealing import Sealer
from darkroom.settings import ObjectStoreSettings, RedisSettings, SecretSettings


@dataclass(frozen=True)
class Stores:
    """Where a service keeps its things."""

    redis: redis.Redis
    objects: ObjectStore
    sealer: Sealer


@contextmanager
def stores(data: Path) -> Iterator[Stores]:
    """The stores of the service that runs on the data folder, else of the variables that its processes have."""
    session, folder = running(data), DataFolder(data)
    if session is None:
        settings, objects, keys = RedisSettings.from_env(), ObjectStoreSettings.from_env(), SecretSettings.from_env()
    else:
        settings = RedisSettings(redis_url=session.redis_url)
        secret = SecretStr(folder.secret("links"))
        objects = ObjectStoreSettings(
            object_store="local", object_store_folder=folder.objects, link_secret=secret, public_url=session.url
        )
        keys = SecretSettings(secret_file=folder.seal_keys())
    with make_redis(settings) as client:
        yield Stores(client, make_object_store(objects), Sealer.from_settings(keys))
