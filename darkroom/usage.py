"""What owners used and owe, by day (UTC): reads what `lua/usage.lua` counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any

import redis

from darkroom.redis_client import redis_errors

LONGEST = 400  # days that are kept
SHADOWS = "@shadow"  # stands for the owner of shadow runs, which are nobody's
_EPOCH = date(1970, 1, 1)
_PAGE = 1_000  # hashes read in one round trip


@dataclass(frozen=True)
class Usage:
    """One owner's day. Amounts are in billionths, by currency."""

    owner: str
    day: date
    jobs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))  # that ended, by status
    images: int = 0  # released
    attempts: int = 0  # that ended
    repeats: int = 0  # of these, all but each job's first
    device_us: int = 0
    billed_us: int = 0
    spent: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    billed: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


class UsageLedger:
    """The ledger, for threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def today(self) -> date:
        """By the clock that the ledger goes by."""
        with redis_errors():
            seconds, _ = self._redis.time()
        return datetime.fromtimestamp(seconds, UTC).date()

    def read(self, first: date, last: date, *, owner: str | None = None) -> list[Usage]:
        """The days from `first` to `last` on which the owner, or anybody, used something; by day, then owner."""
        places = [(day, name) for day in _days(first, last) for name in self._owners(day, owner)]
        found = []
        for start in range(0, len(places), _PAGE):
            found += self._read(places[start : start + _PAGE])
        return found

    def _owners(self, day: date, owner: str | None) -> list[str]:
        if owner is not None:
            return [owner]
        with redis_errors():
            names: Any = self._redis.smembers(f"darkroom:usage_owners:{_number(day)}")
        return sorted(names)

    def _read(self, places: Sequence[tuple[date, str]]) -> list[Usage]:
        with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for day, owner in places:
                pipe.hgetall(f"darkroom:usage:{owner}:{_number(day)}")
            answers = pipe.execute()
        return [_usage(owner, day, counts) for (day, owner), counts in zip(places, answers, strict=True) if counts]


def _usage(owner: str, day: date, counts: Mapping[str, str]) -> Usage:
    def parts(kind: str) -> Mapping[str, int]:
        return {name.removeprefix(kind): int(count) for name, count in sorted(counts.items()) if name.startswith(kind)}

    def count(name: str) -> int:
        return int(counts.get(name, 0))

    return Usage(
        owner=owner,
        day=day,
        jobs=parts("jobs:"),
        images=count("images"),
        attempts=count("attempts"),
        repeats=count("repeats"),
        device_us=count("device_us"),
        billed_us=count("billed_us"),
        spent=parts("spent:"),
        billed=parts("billed:"),
    )


def _number(day: date) -> int:
    return (day - _EPOCH).days


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=days) for days in range((last - first).days + 1)]
