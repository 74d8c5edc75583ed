"""The service that is examined: the one that runs on a data folder, else the one that the variables describe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from pydantic import SecretStr

from cli.connection import running
from cli.data_folder import DataFolder, Session
from darkroom.redis_client import make_redis
from darkroom.settings import ObjectStoreSettings, RedisSettings, SecretSettings

DEFAULT_EGRESS = "example.com:443"


@dataclass(frozen=True)
class Place:
    """Where to look. Settings are read by the check that needs them, so that one bad variable fails one check."""

    data: Path
    egress: str | None = None  # HOST:PORT to reach from here, where the caller named one

    @property
    def session(self) -> Session | None:
        return running(self.data)

    def redis_settings(self) -> RedisSettings:
        session = self.session
        return RedisSettings(redis_url=session.redis_url) if session else RedisSettings.from_env()

    def object_settings(self) -> ObjectStoreSettings:
        session, folder = self.session, DataFolder(self.data)
        if session is None:
            return ObjectStoreSettings.from_env()
        return ObjectStoreSettings(
            object_store="local",
            object_store_folder=folder.objects,
            link_secret=SecretStr(folder.secret("links")),
            public_url=session.url,
        )

    def secret_settings(self) -> SecretSettings:
        if self.session is None:
            return SecretSettings.from_env()
        return SecretSettings(secret_file=DataFolder(self.data).seal_keys())

    @contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        with make_redis(self.redis_settings()) as client:
            yield client
