"""How each route's models do, and which canaries were taken out: in Redis, the same for every process.

The job scripts count (`lua/arms.lua`); whoever holds the watch decides by `darkroom.routing`; the API asks which
variants are out before it gives a job to one, and goes on with what it last heard while Redis is away.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from darkroom.errors import JobStoreUnavailable
from darkroom.logs import get_logger
from darkroom.redis_client import redis_errors
from darkroom.routing import AliasSpec, ArmCounts, trouble_with

log = get_logger(__name__)
SHADOW_ARM = "+shadow"  # behind a model's name: its shadow runs
TAKEN_OUT = "darkroom:routes:taken_out"
WATCH = "darkroom:routes:watch"
LOOK_SECONDS = 2.0  # between two looks at which canaries are out
_FIELDS = {name: float if name == "seconds" else int for name in ArmCounts.__dataclass_fields__}


@dataclass(frozen=True)
class TakenOut:
    """A canary that gets no jobs any more."""

    model: str
    trouble: str  # errors, blocks, or by an operator
    at: float


class RouteBoard:
    """The counts and the decisions, for threads."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        look_seconds: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = client
        self._look_seconds = look_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: Mapping[str, TakenOut] = {}
        self._heard_at: float | None = None

    def out_of(self, alias: AliasSpec) -> frozenset[str]:
        """The variants that get no jobs any more, as of a moment ago."""
        with self._lock:
            if self._heard_at is None or self._clock() - self._heard_at >= self._look_seconds:
                self._heard_at = self._clock()
                try:
                    self._heard = self.taken_out()
                except JobStoreUnavailable:
                    log.warning("routes_not_read")
            found = self._heard.get(alias.route)
        return frozenset({found.model}) if found else frozenset()

    def taken_out(self) -> Mapping[str, TakenOut]:
        """Every canary that is out, by route."""
        with redis_errors():
            stored: Any = self._redis.hgetall(TAKEN_OUT)
        return {str(route): TakenOut(**json.loads(text)) for route, text in stored.items()}

    def counts(self, route: str) -> Mapping[str, ArmCounts]:
        """What became of the route's jobs, by model; those of shadow runs under the model's name and `+shadow`."""
        with redis_errors():
            stored: Any = self._redis.hgetall(f"darkroom:arms:{route}")
        words: dict[str, dict[str, Any]] = {}
        for field, value in stored.items():
            arm, _, word = str(field).rpartition(":")
            if (kind := _FIELDS.get(word)) is not None:
                words.setdefault(arm, {})[word] = kind(value)
        return {arm: ArmCounts(**counted) for arm, counted in words.items()}

    def take_out(self, alias: AliasSpec, trouble: str) -> bool:
        """Give the alias's canary no more jobs; False where it was out already."""
        assert alias.canary is not None, "only a canary can be taken out"
        with redis_errors():
            seconds, micros = self._redis.time()
            said = {"model": alias.canary.model, "trouble": trouble, "at": seconds + micros / 1e6}
            return bool(self._redis.hsetnx(TAKEN_OUT, alias.route, json.dumps(said)))

    def restore(self, alias: AliasSpec) -> bool:
        """Give the canary jobs again, with counts that start anew; False where it was not out."""
        with redis_errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(TAKEN_OUT, alias.route)
            pipe.delete(f"darkroom:arms:{alias.route}")
            return bool(pipe.execute()[0])

    def holds_watch(self, seconds: float) -> bool:
        """Whether this call is the one that looks at the canaries, of all calls in this time."""
        with redis_errors():
            return bool(self._redis.set(WATCH, "1", nx=True, px=max(round(seconds * 1_000), 1)))

    def watch(self, aliases: Iterable[AliasSpec]) -> list[tuple[AliasSpec, str]]:
        """Take out every canary that is surely worse than the other variants; those that went just now, and why."""
        gone = []
        out = self.taken_out()
        for alias in aliases:
            if alias.canary is None or alias.route in out:
                continue
            arms = dict(self.counts(alias.route))
            canary = arms.pop(alias.canary.model, ArmCounts())
            live = (counts for arm, counts in arms.items() if not arm.endswith(SHADOW_ARM))
            trouble = trouble_with(canary, sum(live, ArmCounts()), alias.canary)
            if trouble is not None and self.take_out(alias, trouble):
                log.error("canary_taken_out", route=alias.route, model=alias.canary.model, trouble=trouble)
                gone.append((alias, str(trouble)))
        return gone
