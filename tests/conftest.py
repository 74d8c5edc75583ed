"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os

from tests.fixtures.s3 import s3_endpoint
from tests.fixtures.valkey import redis_client, redis_settings, valkey

__all__ = ["redis_client", "redis_settings", "s3_endpoint", "valkey"]

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process a core already: read by torch when it is loaded
