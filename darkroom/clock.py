"""Wall-clock time for what Redis does not date: links, keys' expiry shown to people. Job times come from Redis TIME."""

from __future__ import annotations

import time


def unix_time() -> float:
    """Seconds since 1970, UTC."""
    return time.time()
