"""Builds every Redis client of the project: time-outs, health checks and retries in one place.

redis-py repeats a command after a lost reply, EVAL included; every script of ours is idempotent, so that is wanted.
`redis_errors` turns the library's connection errors into `JobStoreUnavailable`; other errors are bugs and pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from darkroom.errors import JobStoreUnavailable
from darkroom.settings import RedisSettings

RETRIES = 2  # with the back-off below an unreachable server is reported within about half a second
HEALTH_CHECK_SECONDS = 15
UNAVAILABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
)


def make_redis(settings: RedisSettings) -> redis.Redis:
    """A client for threads: the worker, the reaper, the command line."""
    pool = redis.BlockingConnectionPool.from_url(
        settings.connection_url(), retry=Retry(_backoff(), RETRIES), **_connection_options(settings)
    )
    return redis.Redis(connection_pool=pool)


def make_async_redis(settings: RedisSettings) -> redis.asyncio.Redis:
    """A client for the API's event loop."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        settings.connection_url(), retry=AsyncRetry(_backoff(), RETRIES), **_connection_options(settings)
    )
    return redis.asyncio.Redis(connection_pool=pool)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Report an unreachable or refusing server as `JobStoreUnavailable`."""
    try:
        yield
    except UNAVAILABLE as error:
        raise JobStoreUnavailable from error


def _backoff() -> ExponentialWithJitterBackoff:
    return ExponentialWithJitterBackoff(base=0.05, cap=0.5)


def _connection_options(settings: RedisSettings) -> dict[str, Any]:
    return {
        "decode_responses": True,
        "socket_timeout": settings.redis_timeout_seconds,
        "socket_connect_timeout": settings.redis_timeout_seconds,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "max_connections": settings.redis_max_connections,
        "timeout": settings.redis_timeout_seconds,  # how long a call waits for a free connection
    }
