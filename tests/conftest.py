"""Fixtures that several packages' tests share."""

from __future__ import annotations

from tests.fixtures.s3 import s3_endpoint
from tests.fixtures.valkey import redis_client, redis_settings, valkey

__all__ = ["redis_client", "redis_settings", "s3_endpoint", "valkey"]
