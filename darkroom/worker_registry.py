"""Which workers are alive and how full they are: each says so every few seconds, for operators to read.

Nothing is decided by it: whether a job is in good hands, its lease alone says. Times come from Redis.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import redis

from darkroom.redis_client import redis_errors

SEEN, STATES = "darkroom:workers", "darkroom:workers:states"  # zset name -> time; hash name -> JSON
ALIVE_SECONDS = 15.0  # without a word a worker counts as gone
FORGET_SECONDS = 3_600.0


@dataclass(frozen=True)
class WorkerState:
    """What a worker says of itself."""

    name: str
    tiers: tuple[str, ...]
    device: str
    models: tuple[str, ...]  # in memory
    places: int  # jobs that it may hold at once
    jobs: int  # that it holds
    samples: int  # being denoised
    waiting: int  # samples without rows yet
    rows: int  # that the running samples take
    max_rows: int
    steps: int  # forwards since its start
    draining: bool = False
    row_cap: int | None = None  # fewest rows that a measured forward may have; None: nothing was measured
    seen_seconds: float = 0.0  # since it last spoke

    @property
    def fitting_rows(self) -> int:
        """Rows that fit: the measured cap where it is lower, unless models or sizes with a higher one run."""
        if self.row_cap is None or self.rows > self.row_cap:
            return self.max_rows
        return min(self.row_cap, self.max_rows)


class WorkerRegistry:
    """The list, for threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def announce(self, state: WorkerState) -> None:
        """Say that the worker is alive, and strike those off that have long been silent."""
        said = asdict(state)
        said.pop("seen_seconds")
        with redis_errors():
            now = self._now()
            silent: Any = self._redis.zrange(SEEN, "-inf", str(now - FORGET_SECONDS), byscore=True)
            with self._redis.pipeline() as pipe:
                if silent:
                    pipe.zrem(SEEN, *silent)
                    pipe.hdel(STATES, *silent)
                pipe.zadd(SEEN, {state.name: now})
                pipe.hset(STATES, state.name, json.dumps(said))
                pipe.execute()

    def all(self) -> list[WorkerState]:
        """The workers that spoke lately, by name."""
        with redis_errors():
            now = self._now()
            seen: Any = self._redis.zrange(SEEN, 0, -1, withscores=True)
            alive = {str(name): now - at for name, at in seen if now - at <= ALIVE_SECONDS}
            texts: Any = self._redis.hmget(STATES, sorted(alive)) if alive else []
        return [_read(json.loads(text), alive[name]) for name, text in zip(sorted(alive), texts, strict=True) if text]

    def _now(self) -> float:
        time: Any = self._redis.time()
        return float(time[0]) + float(time[1]) / 1e6


def _read(said: Mapping[str, Any], seen_seconds: float) -> WorkerState:
    """What another release adds is left out."""
    known = {field.name for field in fields(WorkerState)} - {"seen_seconds"}
    kept: dict[str, Any] = {name: _plain(value) for name, value in said.items() if name in known}
    return WorkerState(**kept, seen_seconds=max(seen_seconds, 0.0))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
